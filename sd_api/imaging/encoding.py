"""Encodes pictures as PNG files, and PNG files in other formats."""

import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd_api.imaging.collage import Collage
from sd_api.imaging.samples import Array

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {3: 2, 4: 6}  # by the number of channels: RGB and RGBA
_UP = 2  # the row filter that subtracts the row above
_ZLIB_HEADER = b"\x78\x01"  # deflate with a window of 32 KiB, compressed fast (RFC 1950)
_ROWS = 64  # that are filtered and compressed at a time, so that memory holds no second copy of the picture

# Parts of pictures that are compressed at a time; Python's lock is free meanwhile.
_AT_ONCE = min(4, os.cpu_count() or 1)
_COMPRESSING = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="compressing")


def encode_png(
    picture: Image.Image | Collage | Array, *, parameters: str | None = None, profile: bytes | None = None
) -> bytes:
    """Encode a picture as a PNG file.

    Every row is filtered by the one above, and runs are all that zlib looks for. Pillow's choice of a filter for each
    row and its search for longer matches take two to three times as long on photographs, and save some per cent.

    Args:
        picture: an image of any 8-bit mode, where what is not RGBA becomes RGB; a collage; or samples (height, width,
            3 or 4) of uint8 or uint16, whose depth is kept.
        parameters: the content of the ``parameters`` text chunk, which other tools read; the chunk is ``tEXt``, or
            ``iTXt`` if Latin-1 cannot encode the text.
        profile: the ICC profile; that of an image may also be in its ``info["icc_profile"]``.

    Returns:
        The PNG file.
    """
    if isinstance(picture, Image.Image):
        profile = profile or picture.info.get("icc_profile")
        # Without a copy of what is right already.
        picture = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
    collage = picture if isinstance(picture, Collage) else Collage(picture)
    file = io.BytesIO()
    file.write(_SIGNATURE)
    header = struct.pack(">IIBBBBB", *collage.size, collage.depth, _COLOUR_TYPES[collage.channels], 0, 0, 0)
    _write(file, b"IHDR", header)
    if profile:
        _write(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    texts = PngInfo()
    if parameters is not None:
        # JSON can contain lone surrogates, which no encoding can represent.
        texts.add_text("parameters", parameters.encode("utf-8", "replace").decode())
    for name, body, *_ in texts.chunks:
        _write(file, name, body)
    for body in _compressed(_filtered(collage)):
        _write(file, b"IDAT", body)
    _write(file, b"IEND", b"")
    return file.getvalue()


def _write(file: io.BytesIO, name: bytes, body: bytes) -> None:
    file.write(struct.pack(">I", len(body)) + name)
    file.write(body)
    file.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(name))))


def _compressed(parts: Iterator[npt.NDArray[np.uint8]]) -> Iterator[bytes]:
    """A zlib stream of all parts, some of which are compressed at a time, each without looking at others.

    Runs have a distance of one byte, so hardly anything is lost by that.
    """
    checksum, waiting = zlib.adler32(b""), deque[Future[bytes]]()
    yield _ZLIB_HEADER
    for part in parts:
        checksum = zlib.adler32(part.data, checksum)
        waiting.append(_COMPRESSING.submit(_deflated, part))
        if len(waiting) > _AT_ONCE:
            yield waiting.popleft().result()
    for done in waiting:
        yield done.result()
    yield zlib.compressobj(wbits=-zlib.MAX_WBITS).flush() + struct.pack(">I", checksum)


def _deflated(part: npt.NDArray[np.uint8]) -> bytes:
    """Whole bytes of a deflate stream that goes on after them."""
    compressor = zlib.compressobj(1, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    return compressor.compress(part.data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _filtered(collage: Collage) -> Iterator[npt.NDArray[np.uint8]]:
    """The rows of a collage, some at a time, each filtered and behind the number of its filter."""
    above: Any = 0
    height = collage.size[1]
    for start in range(0, height, _ROWS):
        end = min(start + _ROWS, height)
        part = collage.rows(start, end)
        # PNG has the high byte first.
        part = part.astype(part.dtype.newbyteorder(">"), order="C", copy=False)
        rows = part.reshape(end - start, -1).view(np.uint8)
        filtered = np.empty((end - start, rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = rows[0] - above
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        above = rows[-1]
        yield filtered


def convert_png(png: bytes, output: Literal["png", "jpeg", "webp"], quality: int) -> bytes:
    """Encode a PNG file in another format, with its ICC profile; a PNG stays as it is.

    Args:
        png: the file.
        output: the format.
        quality: 0 to 100, of a lossy format.

    Returns:
        The file.
    """
    if output == "png":
        return png
    converted = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        options = {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}
        image.convert("RGB").save(converted, output.upper(), quality=quality, **options)
    return converted.getvalue()
