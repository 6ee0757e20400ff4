"""Small ICC profiles."""

import struct


def icc_profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC profile of version 2."""
    white = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white, **tags}
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s28s12s48s", size, b"", 0x2400000, b"prtr", space, connection, b"",
                         b"acsp", b"", white, b"")  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body


def adobe_rgb() -> bytes:
    """Adobe RGB (1998): its primaries, adapted to D50, and its gamma of 563 / 256."""
    primaries = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
    return _of_primaries(primaries, [563])


def display_p3() -> bytes:
    """Display P3: its primaries, adapted to D50, and the curve of sRGB."""
    primaries = (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)
    levels = [level / 1023 for level in range(1024)]
    curve = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return _of_primaries(primaries, [round(value * 65535) for value in curve])


def _of_primaries(primaries: tuple[tuple[float, ...], ...], curve: list[int]) -> bytes:
    """A profile of three primaries in XYZ, and of a curve: a gamma in 1/256, or samples."""
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz))
        for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    }
    body = b"curv\0\0\0\0" + struct.pack(f">I{len(curve)}H", len(curve), *curve)
    return icc_profile(b"RGB ", b"XYZ ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), body)})
