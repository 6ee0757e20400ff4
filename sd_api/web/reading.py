"""Reads the bodies of requests at a cost that is bounded by their size, whatever is in them."""

import contextlib
import io
from typing import IO, Any, NoReturn

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property

from sd_api.errors import InvalidField, RequestError
from sd_api.imaging.json_text import LONGEST_TEXT, TooManyFields
from sd_api.imaging.long_text import LONGEST_PLAIN, LongText, Text
from sd_api.imaging.stretches import STRETCH, copy_bytes, stretches_of
from sd_api.web.charsets import decode_field, find_charset, recode_json, wrong_bytes_of_json
from sd_api.web.content_coding import find_unpacker, read_unpacked
from sd_api.web.percent_encoding import unquote

# Where the network edge puts the whole body, as a file that belongs to the request.
BODY = "sd_api.body"

# Where the network edge puts a function that gives back the memory which it counts for the body.
RELEASE = "sd_api.release"

# The escapes of base64's own signs, and of those alone a white picture without compression consists.
BASE64_ESCAPES = (b"%2F", b"%2B", b"%2f", b"%2b")

# Other escapes cost some times as much as other bytes, and no picture needs them. Base64 in lines of 64 has one in 18
# bytes; what is short may have nothing else.
BYTES_OF_ESCAPE, FREE_ESCAPES = 16, 65_536

# Bytes of the headers of one part of a form, and of what separates the parts.
LONGEST_HEAD, LONGEST_BOUNDARY = 8192, 200

# What gzip begins with, and no text does.
GZIP = b"\x1f\x8b"

Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]


class FormGuard:
    """Refuses an urlencoded form that would cost more than its size, piece by piece as it arrives.

    Args:
        max_fields: how many fields it may have; None is any number.
    """

    def __init__(self, max_fields: int | None) -> None:
        self._max_fields = max_fields
        self._fields = 1
        self._escapes = 0
        self._size = 0

    def take(self, piece: bytes) -> None:
        """Look at the next bytes.

        Raises:
            TooManyFields: there are too many.
            RequestError: much of it is escapes that base64 does not need.
        """
        self._size += len(piece)
        self._fields += piece.count(b"&")
        escapes = piece.count(b"%")
        if escapes > len(piece) // BYTES_OF_ESCAPE:
            # Only here does it matter which they are. One that is cut in two by the end of a piece counts as any other.
            escapes -= sum(map(piece.count, BASE64_ESCAPES))
        self._escapes += escapes
        if self._max_fields is not None and self._fields > self._max_fields:
            raise _too_many(self._max_fields)
        if self._escapes > FREE_ESCAPES + self._size // BYTES_OF_ESCAPE:
            raise RequestError(
                f"More than one in {BYTES_OF_ESCAPE} bytes of the form is the % sign of an escape other than %2B and "
                "%2F; send images as base64 text, which needs no others."
            )


class FormReader(FormDataParser):
    """Reads forms from memory: the body is given up at the end, or with the long texts that lie in it.

    A form's values have the type of werkzeug's, which knows of no ``LongText``; only what reads images gets any.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,  # noqa: ARG002 - werkzeug's, which reads to the end just so
        options: dict[str, str] | None = None,
    ) -> Parsed:
        """Read a form of either kind; any other body is left as it is. See the base class."""
        form: MultiDict[str, str] = MultiDict()
        files: MultiDict[str, FileStorage] = MultiDict()
        if mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return stream, form, files
        # A body that the edge has read belongs to this request alone, so it may be decoded in place.
        body = stream if isinstance(stream, io.BytesIO) else io.BytesIO(stream.read())
        parameters = options or {}
        charset = find_charset(parameters.get("charset"))
        with body.getbuffer() as content:
            refuse_unannounced_gzip(bytes(content[:2]))
            if mimetype == "multipart/form-data":
                self._read_parts(content, parameters.get("boundary", ""), charset, form, files)
            else:
                self._read_pairs(content, charset, form)
        body.seek(0)
        with contextlib.suppress(BufferError):
            # Refused where long texts lie in it.
            body.truncate()
        return body, form, files

    def _read_pairs(self, content: memoryview, charset: str, form: MultiDict[str, str]) -> None:
        guard = FormGuard(self.max_form_parts)
        for part in stretches_of(len(content)):
            guard.take(bytes(content[part]))
        for start, end in _between(content, b"&"):
            middle = _find(content, b"=", start, end)
            name = _name(_decoded("form", content[start : end if middle < 0 else middle], charset))
            if middle >= 0:
                form.add(name, _value(_decoded(name, content[middle + 1 : end], charset)))
            elif name:
                form.add(name, "")

    def _read_parts(
        self,
        content: memoryview,
        boundary: str,
        charset: str,
        form: MultiDict[str, str],
        files: MultiDict[str, FileStorage],
    ) -> None:
        if not boundary.isascii() or not 0 < len(boundary) <= LONGEST_BOUNDARY:
            _malformed("its content type names no boundary")
        border = b"\r\n--" + boundary.encode()
        # The first border has no line before it.
        start = 0 if bytes(content[: len(border) - 2]) == border[2:] else _find(content, border, 0, len(content)) + 2
        if start == 1:
            _malformed("its boundary does not occur in it")
        start += len(border) - 2
        parts = 0
        while bytes(content[start : start + 2]) != b"--":
            parts += 1
            if self.max_form_parts is not None and parts > self.max_form_parts:
                raise _too_many(self.max_form_parts)
            head = _find(content, b"\r\n\r\n", start, start + LONGEST_HEAD)
            end = -1 if head < 0 else _find(content, border, head + 2, len(content))
            if end < 0:
                _malformed("one of its parts has no end, or headers that are too long")
            self._read_part(bytes(content[start:head]), content[head + 4 : end], charset, form, files)
            start = end + len(border)

    def _read_part(
        self,
        head: bytes,
        content: memoryview,
        charset: str,
        form: MultiDict[str, str],
        files: MultiDict[str, FileStorage],
    ) -> None:
        lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
        try:
            headers = Headers([(name.strip(), value.strip()) for name, _, value in lines if name.strip()])
        except ValueError:
            _malformed("a header of one of its parts is no text")
        kind, parameters = parse_options_header(headers.get("Content-Disposition"))
        name = parameters.get("name")
        if kind != "form-data" or name is None:
            _malformed("one of its parts has no name")
        if "filename" in parameters:
            files.add(name, FileStorage(io.BytesIO(copy_bytes(content)), parameters["filename"], name, headers=headers))
        else:
            own = parse_options_header(headers.get("Content-Type"))[1].get("charset")
            form.add(name, _value(_text(name, content, charset if own is None else find_charset(own))))


class BoundedRequest(Request):
    """A request whose body is read as this module does it."""

    form_data_parser_class = FormReader

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, unpacked; the one that the edge has read, where there is an edge."""
        body: IO[bytes] | None = self.environ.get("asgi.scope", {}).get(BODY)
        if body is not None:
            return body
        unpacker = find_unpacker(self.headers.get("Content-Encoding"))
        return super().stream if unpacker is None else read_unpacked(super().stream, unpacker, self.max_content_length)

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:
        """The body, that of JSON in UTF-8 whatever its declared charset; see the base class."""
        data = super().get_data(cache, parse_form_data=parse_form_data)
        if self.is_json:
            refuse_unannounced_gzip(data[:2])
            data = recode_json(data, self.mimetype_params.get("charset"))
        return data.decode(errors="replace") if as_text else data

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Say what is wrong with the body, and where, or which field's bytes cannot be decoded; see the base class."""
        if isinstance(e, UnicodeDecodeError):
            raise wrong_bytes_of_json(e.object, e.encoding) from None
        if not self.content_length:
            raise RequestError("There is no body; send a JSON object.") from None
        if self.mimetype.endswith(("form-data", "form-urlencoded")):
            raise RequestError(f"The body is a form ({self.mimetype}); send a JSON object.") from None
        raise RequestError(f"The body is no valid JSON: {e}.") from None


def give_up_body(asked: Request) -> None:
    """Give back the memory of a body, once all has been read from it and the request waits for its job."""
    for name in ("form", "files", "stream", "data", "_cached_data"):
        vars(asked).pop(name, None)
    scope = asked.environ.get("asgi.scope", {})
    scope.pop(BODY, None)
    scope.get(RELEASE, lambda: None)()


def refuse_unannounced_gzip(start: bytes) -> None:
    """Say that a body is compressed without a header that says so.

    Args:
        start: its first two bytes.
    """
    if start == GZIP:
        raise RequestError(
            "The request's body is compressed with gzip; say so, with the header Content-Encoding: gzip."
        )


def _between(content: memoryview, separator: bytes) -> list[tuple[int, int]]:
    """Where the pieces between separators start and end; there are few."""
    pieces, start = [], 0
    while (end := _find(content, separator, start, len(content))) >= 0:
        pieces.append((start, end))
        start = end + len(separator)
    return [*pieces, (start, len(content))]


def _find(content: memoryview, wanted: bytes, start: int, end: int) -> int:
    """Where ``wanted`` begins, or -1. A memoryview cannot be searched, so stretches are copied."""
    end = min(end, len(content))
    for at in range(start, end, STRETCH):
        found = bytes(content[at : min(at + STRETCH + len(wanted) - 1, end)]).find(wanted)
        if found >= 0:
            return at + found
    return -1


def _name(text: Text) -> str:
    if isinstance(text, LongText):
        raise InvalidField("form", f"has a field whose name has {len(text)} characters")
    return text


def _value(text: Text) -> Any:
    """The text as a value of a form, see ``FormReader``."""
    return text


def _decoded(name: str, raw: memoryview, charset: str) -> Text:
    """An urlencoded text. What is decoded is never longer than what came, so it is put in its place."""
    read = written = 0
    while read < len(raw):
        stretch = bytes(raw[read : read + STRETCH])
        if read + STRETCH < len(raw) and b"%" in stretch[-2:]:
            # An escape is not cut in two.
            stretch = stretch[: stretch.rindex(b"%")]
        decoded = unquote(stretch.replace(b"+", b" "))
        raw[written : written + len(decoded)] = decoded
        read += len(stretch)
        written += len(decoded)
    return _text(name, raw[:written], charset)


def _text(name: str, raw: memoryview, charset: str) -> Text:
    if len(raw) <= LONGEST_TEXT:
        return decode_field(name, raw, charset)
    if not all(bytes(raw[part]).isascii() for part in stretches_of(len(raw))):
        problem = f"is longer than {LONGEST_TEXT} bytes and is no plain text; send images as base64 text"
        raise InvalidField(name[:100], problem)
    return LongText(raw) if len(raw) > LONGEST_PLAIN else str(raw, "ascii")


def _too_many(most: int) -> TooManyFields:
    return TooManyFields(f"The form has more than {most} fields.")


def _malformed(why: str) -> NoReturn:
    raise RequestError(f"The form (multipart/form-data) cannot be read: {why}.")
