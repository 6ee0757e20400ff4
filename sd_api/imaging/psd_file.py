"""Photoshop's files, PSD and PSB: the flattened picture that they carry beside their layers."""

import struct
import zlib
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image

from sd_api.imaging.blocks import blocks
from sd_api.imaging.samples import EIGHT_BITS, SIXTEEN_BITS, Array, Bytes, image_of, samples_of, scale_integers
from sd_api.imaging.sources import LARGEST_PROFILE, Source

_BITMAP, _INDEXED, _RGB, _CMYK, _LAB = 0, 2, 3, 4, 9
# By the file's colour mode: Pillow's mode, the bands, and what is white among the values that the file holds.
_MODES = {
    _BITMAP: ("L", 1, (0,)),
    1: ("L", 1, (255,)),
    _INDEXED: ("P", 1, (0,)),
    _RGB: ("RGB", 3, (255, 255, 255)),
    _CMYK: ("CMYK", 4, (255, 255, 255, 255)),
    8: ("L", 1, (255,)),  # duotone: what its inks look like is not documented
    _LAB: ("LAB", 3, (255, 128, 128)),
}
_PROFILE, _TRANSPARENT_INDEX, _VERSION_INFO = 1039, 1047, 1057  # ids of image resources
_RAW, _RLE, _ZIP, _ZIP_WITH_PREDICTION = range(4)
# Blocks that hold the layers of 16-bit files, and blocks that say that the flattened picture has transparency.
_LAYERS, _TRANSPARENCY = {b"Layr", b"Lr16", b"Lr32"}, {b"Mtrn", b"Mt16", b"Mt32"}
# Blocks whose length takes 8 bytes in a PSB file.
_LONG = _LAYERS | _TRANSPARENCY | {b"LMsk", b"Alph", b"FMsk", b"lnk2", b"FEid", b"FXid", b"PxSD"}
_MOST_BLOCKS = 10_000


class _Reader:
    """Takes big-endian numbers and pieces one after another, and knows where the data ends."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.rest = memoryview(data)

    def take(self, length: int) -> memoryview:
        if length > len(self.rest):
            raise ValueError("it is cut off")
        piece, self.rest = self.rest[:length], self.rest[length:]
        return piece

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)


@dataclass(frozen=True)
class _Header:
    """The file's header; version 2 is PSB."""

    version: int
    channels: int
    height: int
    width: int
    depth: int
    mode: int

    def __post_init__(self) -> None:
        if self.version not in (1, 2) or not self.width or not self.height:
            raise ValueError("its header is damaged")
        if self.depth == 32:
            raise ValueError("it has 32 bits per channel; choose Image > Mode > 16 Bits/Channel and save it again")
        if self.mode == 7:
            raise ValueError("it is a multichannel file; choose Image > Mode > RGB Color and save it again")
        depths = {_BITMAP: {1}, _INDEXED: {8}}.get(self.mode, {8, 16})
        if self.mode not in _MODES or self.depth not in depths or self.channels < _MODES[self.mode][1]:
            raise ValueError(f"it has colour mode {self.mode} with {self.channels} channels of {self.depth} bits")

    @property
    def row(self) -> int:
        """Bytes in one row of one channel."""
        return (self.width * self.depth + 7) // 8


def open_psd(data: bytes) -> Source:
    """Open a PSD or PSB file of 1, 8 or 16 bits: bitmap, grey, duotone (as grey), indexed, RGB, CMYK or Lab.

    Raises:
        ValueError: it is of another kind, or was saved without the flattened picture.
    """
    reader = _Reader(data)
    header = _Header(*struct.unpack(">4xH6xHIIHH", reader.take(26)))
    # Of the other modes, some have profiles that say what their colours are; these become sRGB, in 8 bits.
    load_deep = (lambda: _deep(header, reader)) if (header.mode, header.depth) == (_RGB, 16) else None
    may_be_transparent = header.mode == _INDEXED or header.channels > _MODES[header.mode][1]
    # The colours, and one channel more that may be their alpha.
    pixel_bytes = (_MODES[header.mode][1] + 1) * ceil(header.depth / 8)
    return Source(
        (header.width, header.height),
        lambda: _load(header, reader),
        load_deep,
        may_be_transparent,
        pixel_bytes,
        decoder_bytes=4 + 2 * pixel_bytes,
    )


def _deep(header: _Header, reader: _Reader) -> Array:
    colours, alpha, _, _ = _content(header, reader, SIXTEEN_BITS)
    return samples_of(colours, alpha)


def _load(header: _Header, reader: _Reader) -> Image.Image:
    colours, alpha, palette, resources = _content(header, reader, EIGHT_BITS)
    if header.mode == _INDEXED:
        return _indexed(colours[..., 0], palette, resources.get(_TRANSPARENT_INDEX))
    if header.mode == _CMYK:
        colours = 255 - colours  # stored as the paper that is left
    profile = resources.get(_PROFILE, b"")
    mode = _MODES[header.mode][0]
    return image_of(mode, colours, alpha, profile if len(profile) <= LARGEST_PROFILE else b"")


def _content(header: _Header, reader: _Reader, white: int) -> tuple[Array, Array | None, bytes, dict[int, bytes]]:
    """The colours and the alpha of the flattened picture, scaled to 0..``white``; the palette and the resources."""
    palette = reader.take(reader.number(4))
    resources = _resources(_Reader(reader.take(reader.number(4))))
    layers, transparent = _layers(_Reader(reader.take(reader.number(4 * header.version))), header.version)
    version_info = resources.get(_VERSION_INFO, b"")
    if layers and len(version_info) > 4 and not version_info[4]:
        raise ValueError(
            "it was saved without a flattened picture; in Photoshop, switch on Preferences > File Handling > "
            "Maximize PSD and PSB File Compatibility and save it again"
        )
    _, bands, paper = _MODES[header.mode]
    has_alpha = transparent and header.channels > bands
    planes = _planes(header, reader, bands + has_alpha, white)
    colours, alpha = np.moveaxis(planes[:bands], 0, -1), planes[bands] if has_alpha else None
    if alpha is not None:
        colours = _without_paper(colours, alpha, np.array(paper, np.float32) * (white / 255), white)
    return colours, alpha, bytes(palette), resources


def _resources(reader: _Reader) -> dict[int, bytes]:
    """The image resources that are read, by their ids."""
    found = {}
    for _ in range(_MOST_BLOCKS):
        if not reader.rest:
            break
        reader.take(4)
        number = reader.number(2)
        name = reader.number(1)
        reader.take(name + (name + 1) % 2)
        body = reader.take(reader.number(4))
        if len(body) % 2 and reader.rest:
            reader.take(1)
        if number in (_PROFILE, _TRANSPARENT_INDEX, _VERSION_INFO):
            found[number] = bytes(body)
    else:
        raise ValueError(f"it has more than {_MOST_BLOCKS:,} image resources")
    return found


def _layers(reader: _Reader, version: int) -> tuple[bool, bool]:
    """Whether there are layers, and whether the first extra channel is the flattened picture's transparency."""
    if not reader.rest:
        return False, False
    count, transparent = 0, False
    if (length := reader.number(4 * version)) >= 2:
        count = _Reader(reader.take(length)).number(2, signed=True)
    if len(reader.rest) >= 4:
        reader.take(reader.number(4))
    for _ in range(_MOST_BLOCKS):
        if len(reader.rest) < 12:
            break
        reader.take(4)
        key = bytes(reader.take(4))
        body = reader.take(reader.number(8 if version == 2 and key in _LONG else 4))
        reader.take(min(-len(body) % 4, len(reader.rest)))
        if key in _LAYERS and len(body) >= 2:
            count = _Reader(body).number(2, signed=True)
        transparent = transparent or key in _TRANSPARENCY
    else:
        raise ValueError(f"it has more than {_MOST_BLOCKS:,} blocks of layers")
    return count != 0, transparent or count < 0


def _planes(header: _Header, reader: _Reader, wanted: int, white: int) -> Array:
    """The first channels of the flattened picture, scaled to 0..``white``: channel x height x width."""
    compression = reader.number(2)
    length = header.row * header.height * wanted
    if compression == _RAW:
        content = bytes(reader.take(length))
    elif compression == _RLE:
        content = _run_lengths(header, reader, wanted)
    elif compression in (_ZIP, _ZIP_WITH_PREDICTION):
        content = zlib.decompressobj().decompress(reader.rest, length)
        if len(content) < length:
            raise ValueError("it is cut off")
    else:
        raise ValueError(f"it has compression {compression}, which no Photoshop writes")
    shape = (wanted, header.height, -1)
    if header.depth == 1:
        bits = np.unpackbits(np.frombuffer(content, np.uint8).reshape(shape), axis=-1, count=header.width)
        return (1 - bits) * np.uint8(255)  # a bit that is set is black
    kind = np.dtype(f">u{header.depth // 8}")
    values = np.frombuffer(content, kind).reshape(shape)
    if compression == _ZIP_WITH_PREDICTION:  # each value is the difference to the one at its left
        values = np.cumsum(values, axis=-1, dtype=kind.newbyteorder("="))
    return scale_integers(values, (1 << header.depth) - 1, white)


def _run_lengths(header: _Header, reader: _Reader, wanted: int) -> bytes:
    """Unpack the rows of the first channels; before them, there is a table of all rows' lengths."""
    size = 2 * header.version
    table = np.frombuffer(reader.take(size * header.height * header.channels), f">u{size}")
    body = reader.take(int(table[: header.height * wanted].sum(dtype=np.uint64)))
    # Pillow's decoder refuses what is too short.
    return Image.frombytes("L", (header.row, header.height * wanted), bytes(body), "packbits", "L").tobytes()


def _without_paper(colours: Array, alpha: Array, paper: Array, white: int) -> Array:
    """Take away the white that Photoshop lays under what is transparent."""
    plain = np.empty(colours.shape, colours.dtype)
    for part in blocks(colours.shape):
        opacity = np.maximum(alpha[part], 1)[..., None].astype(np.float32) / white
        plain[part] = np.rint(np.clip(paper + (colours[part] - paper) / opacity, 0, white))
    return plain


def _indexed(indices: Bytes, palette: bytes, transparent: bytes | None) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(indices)).convert("L")
    image.putpalette(np.frombuffer(palette, np.uint8).reshape(3, 256).T.tobytes())
    index = int.from_bytes(transparent, "big") if transparent else 256
    if index < 256:
        image.info["transparency"] = index
    return image
