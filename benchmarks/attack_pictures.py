"""Small picture files that would cost much more than their size, where they are decoded without care."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile
from attack_connections import sign_up
from attacked_server import JSON, MB, PARTS, Row, Target, watching
from PIL import Image

SIDE = 6000
MANY = 2000


@dataclass(frozen=True)
class Picture:
    """A file that is sent.

    Attributes:
        name: for the table.
        make: its bytes.
        status: the answer.
        memory: MB that it may take; 4 bytes for each pixel of an image, and what its decoder needs.
    """

    name: str
    make: Callable[[], bytes]
    status: int
    memory: int = 50


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _zeros(size: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(MB)) for _ in range(size // MB)), packer.compress(bytes(size % MB))]) + (
        packer.flush()
    )


def _png(width: int, height: int, depth: int, colour: int, further: bytes = b"") -> bytes:
    bands = {0: 1, 2: 3, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = _chunk(b"IDAT", _zeros(height * (1 + width * bands * depth // 8)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + further + pixels + _chunk(b"IEND", b"")


def _saved(name: str, frames: int = 1, side: int = 64, **options: object) -> bytes:
    first, *others = (Image.new("RGB", (side, side), (number % 256, 0, 0)) for number in range(frames))
    file = io.BytesIO()
    several = {"save_all": True, "append_images": others} if others else {}
    first.save(file, name, **several, **options)
    return file.getvalue()


def _scans() -> bytes:
    whole = _saved("JPEG", side=SIDE // 3, progressive=True, quality=1)
    last = whole.rfind(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * MANY + whole[-2:]


def _deep_tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((SIDE, SIDE, 4), np.uint16), photometric="rgb", compression="adobe_deflate")
    return file.getvalue()


def _psd(channels: int, side: int, layers: bytes = b"") -> bytes:
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, side, side, 16, 3)
    rest = struct.pack(">III", 0, 0, len(layers)) + layers + struct.pack(">H", 2)
    return header + rest + _zeros(side * side * 2 * 3)


_TEXT = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MB), 9))
_PROFILE = _chunk(b"iCCP", b"a\0\0" + _zeros(200 * MB))
# A tag of five million values, of which the file has none.
_TAGS = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 9, 273, 4, 5_000_000, 100) + bytes(400)
_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x00\x01\x05\0\xff\xff\0\0\x08\0\0\0" * 65535

# Of 36 million pixels, which every server with its usual limits takes, or of a few.
PICTURES = [
    Picture("a PNG of one column of 150 M pixels", lambda: _png(1, 150_000_000, 8, 0), 422),
    Picture("a PNG of one row of 150 M pixels", lambda: _png(150_000_000, 1, 8, 0), 422),
    Picture("a PNG of 16 bits", lambda: _png(SIDE, SIDE, 16, 6), 200, 700),
    Picture(f"{MANY} texts of 1 MB in a PNG", lambda: _png(8, 8, 8, 0, _TEXT * MANY), 200),
    Picture("an ICC profile of 200 MB in a PNG", lambda: _png(8, 8, 8, 0, _PROFILE), 200),
    Picture("70,000 chunks in a PNG", lambda: _png(8, 8, 8, 0, _chunk(b"vpAg", b"") * 70_000), 422),
    Picture(f"{MANY} frames of a PNG", lambda: _saved("PNG", MANY), 200),
    Picture(f"{MANY} frames of a GIF", lambda: _saved("GIF", MANY), 200),
    Picture(f"{MANY} frames of a WebP", lambda: _saved("WEBP", MANY, lossless=True, method=0), 200),
    Picture("200 frames of an AVIF", lambda: _saved("AVIF", 200, speed=10), 200),
    Picture("a WebP of 100 bytes", lambda: _saved("WEBP", side=SIDE, lossless=True, method=0), 200, 700),
    Picture("EXIF data of 65,535 entries in a WebP", lambda: _saved("WEBP", exif=_EXIF), 200),
    Picture(f"{MANY} scans of a JPEG", _scans, 422),
    Picture("a TIFF of 16 bits", _deep_tiff, 200, 700),
    Picture("a tag of 5 M values in a TIFF", lambda: _TAGS, 422),
    Picture("a PSD of 56 channels of 16 bits", lambda: _psd(56, SIDE), 200, 900),
    Picture("20,000 blocks of layers in a PSD", lambda: _psd(3, 64, bytes(8) + (b"8BIMabcd" + bytes(4)) * 20_000), 422),
]


def read_texts(target: Target) -> Row:
    """Ask for the texts of a PNG that are 1,000 times as long as its file, and six times as long as JSON.

    The first MiB of them is read.
    """
    texts = (_chunk(b"zTXt", b"k%d\0\0" % number + zlib.compress(b"\1" * 1_000_000, 9)) for number in range(60))
    body = json.dumps({"image": base64.b64encode(_png(8, 8, 8, 0, b"".join(texts))).decode()}).encode()
    with watching(target) as notice:
        status, answer = target.ask("POST", "/sdapi/v1/png-info", body, {"Content-Type": JSON})
    right = status == 200 and len(json.dumps(answer)) < 7 * MB
    return Row("60 texts of 1 MB in a PNG, to be read", notice, str(status), 1, 50 * MB, 50, right)


def send_pictures(target: Target, pictures: list[Picture]) -> list[Row]:
    """Upload each, as who has a token does."""
    headers = {"Authorization": f"Bearer {sign_up(target)}", "Content-Type": PARTS}
    rows = []
    for picture in pictures:
        part = b'--b\r\nContent-Disposition: form-data; name="blob_data"; filename="a"\r\n\r\n'
        body = part + picture.make() + b"\r\n--b--\r\n"
        with watching(target) as notice:
            status, _ = target.ask("POST", "/blob", body, headers)
        # To decompress and convert 36 million pixels takes most of it.
        seconds = 1 if picture.status == 422 else 5
        rows.append(Row(picture.name, notice, str(status), seconds, picture.memory * MB, 50, status == picture.status))
    return rows
