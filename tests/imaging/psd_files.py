"""Writes PSD and PSB files as Photoshop does, for tests."""

import struct
import zlib

import imagecodecs
import numpy as np

MODES = {"bitmap": 0, "grey": 1, "indexed": 2, "rgb": 3, "cmyk": 4, "multichannel": 7, "duotone": 8, "lab": 9}


def psd(
    mode: str,
    planes: np.ndarray,
    *,
    depth: int = 8,
    version: int = 1,
    compression: int = 1,
    palette: bytes = b"",
    resources: dict[int, bytes] | None = None,
    layers: int | None = None,
    blocks: dict[bytes, bytes] | None = None,
) -> bytes:
    """A file with a flattened picture.

    Args:
        mode: one of ``MODES``.
        planes: channels x height x width, the values as the file holds them; of a bitmap, whether it is black.
        depth: bits of each value.
        version: 1 for PSD, 2 for PSB.
        compression: 0 raw, 1 run lengths, 2 ZIP, 3 ZIP with prediction.
        palette: 768 bytes, all reds first.
        resources: image resources by number.
        layers: the number that stands for the layers, negative if the picture has transparency; None for no section.
        blocks: additional blocks by key.
    """
    count, height, width = planes.shape
    if depth == 1:
        rows = np.packbits(planes.astype(bool), axis=-1)
    else:
        rows = planes.astype({8: ">u1", 16: ">u2", 32: ">f4"}[depth])
    if compression == 3:
        rows = np.diff(rows, axis=-1, prepend=rows.dtype.type(0)).astype(rows.dtype)
    packed = rows.tobytes()
    if compression == 1:
        runs = [bytes(imagecodecs.packbits_encode(row.tobytes())) for channel in rows for row in channel]
        packed = struct.pack(f">{len(runs)}{'HI'[version - 1]}", *map(len, runs)) + b"".join(runs)
    elif compression > 1:
        packed = zlib.compress(packed)
    parts = b""
    for number, body in (resources or {}).items():
        parts += (
            b"8BIM"
            + struct.pack(">H", number)
            + b"\0\0"
            + struct.pack(">I", len(body))
            + body
            + b"\0" * (len(body) % 2)
        )
    long = ">Q" if version == 2 else ">I"
    section = b""
    if layers is not None or blocks:
        info = b"" if layers is None else struct.pack(">h", layers) + bytes(6)
        section = struct.pack(long, len(info)) + info + struct.pack(">I", 0)
        for key, body in (blocks or {}).items():
            length = long if key in (b"Lr16", b"Mt16", b"Mtrn") else ">I"
            section += b"8BIM" + key + struct.pack(length, len(body)) + body + bytes(-len(body) % 4)
    return (
        struct.pack(">4sH6xHIIHH", b"8BPS", version, count, height, width, depth, MODES[mode])
        + struct.pack(">I", len(palette))
        + palette
        + struct.pack(">I", len(parts))
        + parts
        + struct.pack(long, len(section))
        + section
        + struct.pack(">H", compression)
        + packed
    )
