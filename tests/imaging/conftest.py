import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pillow_heif
import pytest
from PIL import Image

Bytes = Callable[..., bytes]


@pytest.fixture(scope="session")
def save() -> Bytes:
    """``save(image, format, **options)``: the bytes of a picture file."""

    def save(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        if file_format == "HEIF":  # which Pillow cannot write by itself
            pillow_heif.from_pillow(image).save(file, **options)
        else:
            image.save(file, file_format, **options)
        return file.getvalue()

    return save


@pytest.fixture(scope="session")
def png() -> Bytes:
    """``png(size, rows, *chunks)``: a PNG file such as Pillow would not write."""

    def png(size: tuple[int, int], rows: bytes, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
        header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
        file = b"\x89PNG\r\n\x1a\n"
        for name, body in [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]:
            file += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        return file

    return png
