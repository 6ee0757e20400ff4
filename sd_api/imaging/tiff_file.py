"""TIFF files of any kind of samples: Pillow reads those that are compressed as pictures, tifffile all others."""

import io
from math import ceil

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sd_api.imaging import tiff_directory as tiff
from sd_api.imaging.blocks import blocks
from sd_api.imaging.samples import (
    EIGHT_BITS,
    SIXTEEN_BITS,
    Array,
    Bytes,
    image_of,
    samples_of,
    scale_floats,
    scale_integers,
)
from sd_api.imaging.sources import LARGEST_PROFILE, Source, pillow_source, upright, upright_samples
from sd_api.imaging.tiff_directory import Directory

_NONE = 1
_BY_TIFFFILE = {_NONE, 5, 8, 32946, 32773, 50000}  # LZW, ZIP (of two numbers), PackBits and Zstandard
_BY_PILLOW = {2, 3, 4, 6, 7}  # fax and JPEG, old and new
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_MODES = {_WHITE_IS_ZERO: "L", _BLACK_IS_ZERO: "L", _RGB: "RGB", _CMYK: "CMYK", _LAB: "LAB", _ICC_LAB: "LAB"}
_PREMULTIPLIED, _PLAIN_ALPHA = 1, {2, 999}  # kinds of extra samples; the latter is Corel Draw's
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_MOST_SAMPLES, _MOST_BYTES = 16, 64  # of a pixel
_TILE_MARGIN = 1024  # pixels by which a tile may be larger than the picture


def open_tiff(data: bytes) -> Source:
    """Open a TIFF file; of several pages, the first counts.

    Raises:
        ValueError: it is damaged, a camera's raw file, or of a kind that is not read.
    """
    directory = Directory(data)
    is_preview = tiff.SUB_DIRECTORIES in directory and directory.number(tiff.PAGE_KIND) & 1
    if tiff.RAW_VERSION in directory or is_preview or data[8:10] == b"CR":
        raise ValueError("it is a camera's raw file; export it as TIFF or JPEG")
    size = directory.number(tiff.WIDTH), directory.number(tiff.HEIGHT)
    if not all(size):
        raise ValueError("it has no size")
    turn = directory.number(tiff.ORIENTATION)
    load_deep = (lambda: upright_samples(_deep(directory), turn)) if _is_deep(directory) else None
    may_be_transparent = tiff.SAMPLES not in directory or directory.number(tiff.SAMPLES) not in (1, 3)
    bits = max(directory.numbers(tiff.BITS, (1,)))
    pixel_bytes = ceil(directory.number(tiff.SAMPLES, 1) * bits / 8)
    return Source(
        size,
        lambda: upright(_load(directory), turn),
        load_deep,
        may_be_transparent,
        pixel_bytes,
        decoder_bytes=4 + 2 * pixel_bytes,
    )


def _is_deep(directory: Directory) -> bool:
    """Whether it is grey or RGB with more than 8 bits, for tifffile, and no profile turns its grey into sRGB."""
    return (
        directory.number(tiff.BITS, 1) > 8
        and directory.number(tiff.COMPRESSION, _NONE) in _BY_TIFFFILE
        and directory.number(tiff.PHOTOMETRIC, _RGB) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        and _profile(directory)[16:20] != b"GRAY"
    )


def _deep(directory: Directory) -> Array:
    _, colours, alpha = _planes(directory, SIXTEEN_BITS)
    return samples_of(colours, alpha)


def _profile(directory: Directory) -> bytes:
    profile = directory.content(tiff.PROFILE)
    return profile if len(profile) <= LARGEST_PROFILE else b""


def _load(directory: Directory) -> Image.Image:
    compression, profile = directory.number(tiff.COMPRESSION, _NONE), _profile(directory)
    _segment_size(directory)
    if compression in _BY_PILLOW or directory.number(tiff.PHOTOMETRIC) == _YCBCR:
        if compression == _NONE and sum(_segments(directory)[1]) < 3 * _pixels(directory):
            raise ValueError("it is YCbCr with subsampling and no compression; save it as RGB")
        image = pillow_source(TiffImageFile, directory.bare_file()).load()
        if profile:
            image.info["icc_profile"] = profile
        return image
    if compression not in _BY_TIFFFILE:
        raise ValueError(f"it is compressed with {_name(compression)}; save it with LZW, ZIP or no compression")
    mode, colours, alpha = _planes(directory, EIGHT_BITS)
    return image_of(mode, colours, alpha, profile)


def _name(compression: int) -> str:
    try:
        return str(tifffile.COMPRESSION(compression).name)
    except ValueError:
        return f"method {compression}"


def _pixels(directory: Directory) -> int:
    return directory.number(tiff.WIDTH) * directory.number(tiff.HEIGHT)


def _segments(directory: Directory) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offsets and lengths of the strips or tiles."""
    if tiff.TILE_OFFSETS in directory:
        return directory.numbers(tiff.TILE_OFFSETS), directory.numbers(tiff.TILE_LENGTHS)
    return directory.numbers(tiff.STRIP_OFFSETS), directory.numbers(tiff.STRIP_LENGTHS)


def _planes(directory: Directory, white: int) -> tuple[str, Array, Array | None]:
    """The mode, the colours and the alpha of samples that need no more than to be unpacked, scaled to 0..``white``."""
    samples = _samples(directory)
    photometric = directory.number(tiff.PHOTOMETRIC, _RGB if samples.shape[-1] > 2 else _BLACK_IS_ZERO)
    if photometric == _PALETTE:
        mode, bands, colours = "RGB", 1, _palette_colours(directory, samples[..., 0])
    elif photometric in _MODES and not (photometric == _CMYK and directory.number(tiff.INK_SET, 1) != 1):
        mode = _MODES[photometric]
        bands = len(mode) if mode != "LAB" else 3
        colours = samples[..., :bands]
    else:
        raise ValueError(f"it has photometric interpretation {photometric}; save it as RGB")
    if samples.shape[-1] < bands:
        raise ValueError(f"it has {samples.shape[-1]} samples per pixel, which is too few for its colours")
    if mode == "L" and samples.shape[-1] > 2 and tiff.EXTRA_SAMPLES not in directory:
        raise ValueError(f"it is grey with {samples.shape[-1]} samples per pixel; save it as RGB")
    alpha, premultiplied = _alpha(directory, samples, bands, white)
    if photometric in (_LAB, _ICC_LAB):
        colours = _lab(colours, signed=photometric == _LAB)
    elif photometric != _PALETTE:
        colours = _scale(directory, colours, white)
    if alpha is not None and premultiplied:
        if mode == "LAB":
            raise ValueError("it is Lab with premultiplied alpha; save it as RGB")
        plain = np.empty(colours.shape, colours.dtype)
        for part in blocks(colours.shape):
            factor = white / np.maximum(alpha[part], 1)[..., None]
            plain[part] = np.minimum(colours[part] * factor, white).round()
        colours = plain
    if photometric == _WHITE_IS_ZERO:
        colours = white - colours
    return mode, colours, alpha


def _samples(directory: Directory) -> Array:
    """All samples, as they are in the file: height x width x samples."""
    bits, formats = (set(directory.numbers(tag, (1,))) for tag in (tiff.BITS, tiff.SAMPLE_FORMAT))
    count = directory.number(tiff.SAMPLES, 1)
    if len(bits) > 1 or len(formats) > 1:
        raise ValueError("its samples are of several kinds; save it as RGB with 8 or 16 bits")
    if not 1 <= count <= _MOST_SAMPLES or count * max(bits) > 8 * _MOST_BYTES:
        raise ValueError(f"it has {count} samples of {max(bits)} bits per pixel; at most {_MOST_SAMPLES} are read")
    planes = count if directory.number(tiff.PLANAR, 1) == 2 else 1
    _check_segments(directory, planes, count // planes * max(bits))
    with tifffile.TiffFile(io.BytesIO(directory.bare_file())) as file:
        array = file.pages.first.asarray(squeeze=False, maxworkers=1)
    height, width = directory.number(tiff.HEIGHT), directory.number(tiff.WIDTH)
    # What tifffile gives is plane x depth x height x width x sample.
    array = array.reshape(planes, height, width, count // planes)
    return np.moveaxis(array[..., 0], 0, -1) if planes > 1 else array[0]


def _segment_size(directory: Directory) -> tuple[int, int]:
    """Width and height of a strip or tile in pixels; refuses tiles that are far larger than the picture."""
    width, height = directory.number(tiff.WIDTH), directory.number(tiff.HEIGHT)
    if tiff.TILE_OFFSETS not in directory:
        return width, max(1, min(directory.number(tiff.ROWS_PER_STRIP, height), height))
    across, down = directory.number(tiff.TILE_WIDTH), directory.number(tiff.TILE_HEIGHT)
    if not 0 < across <= width + _TILE_MARGIN or not 0 < down <= height + _TILE_MARGIN:
        raise ValueError(f"it has {width} x {height} pixels in tiles of {across} x {down}")
    return across, down


def _check_segments(directory: Directory, planes: int, bits: int) -> None:
    """Refuse strips or tiles that are missing, which tifffile would read as 0, or far more than the picture needs."""
    width, height = directory.number(tiff.WIDTH), directory.number(tiff.HEIGHT)
    across, down = _segment_size(directory)
    offsets, lengths = _segments(directory)
    needed = ceil(width / across) * ceil(height / down) * planes
    if len(offsets) != needed or len(lengths) != needed:
        raise ValueError(f"it has {len(offsets)} strips or tiles in place of {needed}")
    ends = map(sum, zip(offsets, lengths, strict=True))
    if not all(offsets) or not all(lengths) or max(ends) > directory.file_size:
        raise ValueError("it is cut off")
    if directory.number(tiff.COMPRESSION, _NONE) == _NONE and sum(lengths) < height * planes * ceil(width * bits / 8):
        raise ValueError("it is cut off")


def _alpha(directory: Directory, samples: Array, bands: int, white: int) -> tuple[Array | None, bool]:
    """The alpha plane, if there is one, and whether the colours are multiplied with it."""
    kinds = directory.numbers(tiff.EXTRA_SAMPLES)
    if not kinds and samples.shape[-1] == bands + 1 and directory.number(tiff.PHOTOMETRIC) != _CMYK:
        kinds = (max(_PLAIN_ALPHA),)  # many programs do not say what their fourth sample is
    for plane, kind in enumerate(kinds, bands):
        if plane < samples.shape[-1] and (kind == _PREMULTIPLIED or kind in _PLAIN_ALPHA):
            return _scale(directory, samples[..., plane], white), kind == _PREMULTIPLIED
    return None, False


def _scale(directory: Directory, values: Array, white: int) -> Array:
    """Scale samples of any type to 0..``white``."""
    bits, kind = directory.number(tiff.BITS, 1), directory.number(tiff.SAMPLE_FORMAT, _UNSIGNED)
    if kind == _FLOAT:
        return scale_floats(values, white)
    if kind == _SIGNED and bits == 32:
        return scale_integers(np.clip(values, 0, 0xFFFF).astype(np.uint16), 0xFFFF, white)
    if kind not in (_UNSIGNED, _UNDEFINED) or bits > 32:
        raise ValueError(f"it has samples of {bits} bits and format {kind}; save it with 8 or 16 bits")
    full = (1 << bits) - 1
    # What has room for 32 bits often holds 16.
    return scale_integers(values, 0xFFFF if bits == 32 and values.max() <= 0xFFFF else full, white)


def _lab(values: Array, *, signed: bool) -> Bytes:
    """Lab of 8 or 16 bits as Pillow keeps it: 255 is L = 100, and 128 is neutral."""
    if values.dtype.itemsize == 1:
        neutral_at_128 = values.astype(np.uint8)
        return neutral_at_128 ^ np.array([0, 128, 128], np.uint8) if signed else neutral_at_128
    if values.dtype.itemsize != 2 or values.dtype.kind == "f":
        raise ValueError("it is Lab with 32 bits; save it with 16")
    lightness = values[..., 0].astype(np.uint16)
    if not signed:  # as ICC profiles count: 0xFF00 is L = 100
        return np.minimum(np.rint(values / 256), 255).astype(np.uint8)
    colours = np.rint(values[..., 1:].astype(np.int16) / 256) + 128
    return np.dstack([scale_integers(lightness, 0xFFFF), np.minimum(colours, 255).astype(np.uint8)])


def _palette_colours(directory: Directory, indices: Array) -> Bytes:
    table: Array = np.array(directory.numbers(tiff.COLOUR_MAP), np.uint16)
    if table.size != 3 << directory.number(tiff.BITS, 1):
        raise ValueError("its palette is damaged")
    # Some programs write 8 bits where the specification has 16.
    colours: Bytes = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
    return colours.reshape(3, -1).T[indices]
