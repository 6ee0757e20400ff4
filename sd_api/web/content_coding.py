"""Unpacks the bodies that clients have compressed, a stretch at a time, so that their size can be limited."""

import io
import zlib
from collections.abc import Iterator
from typing import IO

from werkzeug.exceptions import RequestEntityTooLarge

from sd_api.errors import RequestError
from sd_api.imaging.stretches import STRETCH

CODINGS = "gzip, deflate"
"""What a ``Content-Encoding`` may be, in the words of ``Accept-Encoding``."""

# Bytes that an unpacker needs itself: zlib's window and tables, and a stretch's share of what comes in.
MEMORY = 1 << 16

# gzip allows several members in a row; each of them costs more than its size.
MOST_MEMBERS = 100

# zlib's windowBits: the largest window with gzip's header, with zlib's, and without any.
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class UnsupportedCoding(RequestError):
    """The Content-Encoding is none of ``CODINGS``; the answer has them in ``Accept-Encoding``."""

    status = 415


class Unpacker:
    """Unpacks one body.

    Args:
        coding: gzip or deflate.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._members = 0
        self._inflate: zlib._Decompress | None = None
        # The first byte of deflate, until a second one shows which of its two forms it is.
        self._start = b""

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """The next bytes, at most ``STRETCH`` at a time.

        Raises:
            RequestError: This is not what the header says.
        """
        rest = self._start + piece
        if self._inflate is None and self._coding == "deflate" and len(rest) < 2:
            self._start = rest
            return
        self._start = b""
        while rest or self._has_more():
            inflate = self._inflate
            if inflate is None or inflate.eof:
                inflate = self._inflate = self._next_member(rest)
            try:
                stretch = inflate.decompress(rest, STRETCH)
            except zlib.error:
                raise RequestError(
                    f"The request's body is not compressed with {self._coding}, as its Content-Encoding says."
                ) from None
            rest = inflate.unused_data or inflate.unconsumed_tail
            if stretch:
                yield stretch
            elif not rest:
                return

    def finish(self) -> None:
        """Check that the body was complete; one without any bytes is.

        Raises:
            RequestError: It ends early.
        """
        if self._start or (self._inflate is not None and not self._inflate.eof):
            raise RequestError(f"The request's body ends before its {self._coding} does; it was cut off.")

    def _has_more(self) -> bool:
        """Whether there may be output without further input."""
        return self._inflate is not None and not self._inflate.eof

    def _next_member(self, start: bytes) -> "zlib._Decompress":
        self._members += 1
        if self._members > (MOST_MEMBERS if self._coding == "gzip" else 1):
            raise RequestError(f"The request's body goes on after the end of its {self._coding}.")
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        # "deflate" is zlib's format (RFC 9110, 8.4.1.2), but some clients send the bare one of RFC 1951.
        with_header = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
        return zlib.decompressobj(_ZLIB if with_header else _RAW)


def find_unpacker(content_encoding: str | None) -> Unpacker | None:
    """What unpacks a body with this header; None for one that is not compressed.

    Raises:
        UnsupportedCoding: Nothing here does.
    """
    named = [coding.strip().lower().removeprefix("x-") for coding in (content_encoding or "").split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS.split(", "):
        came = ", ".join(codings)[:100]
        raise UnsupportedCoding(f"The Content-Encoding is {came!r}; send the body as it is, or with one of {CODINGS}.")
    return Unpacker(codings[0])


def read_unpacked(stream: IO[bytes], unpacker: Unpacker, max_bytes: int | None) -> io.BytesIO:
    """The whole body, unpacked.

    Args:
        stream: The body as it came.
        unpacker: What unpacks it.
        max_bytes: The most bytes that come out; None is any number.

    Raises:
        RequestEntityTooLarge: There are more.
        RequestError: It cannot be unpacked.
    """
    body = io.BytesIO()
    while piece := stream.read(STRETCH):
        for stretch in unpacker.unpack(piece):
            if max_bytes is not None and body.tell() + len(stretch) > max_bytes:
                raise RequestEntityTooLarge
            body.write(stretch)
    unpacker.finish()
    body.seek(0)
    return body
