"""TIFF files of every kind of samples, written by tifffile and by hand."""

import io
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.decoding import read_image, read_mask

Bytes = Callable[..., bytes]
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [16, 128, 240]], [[255, 255, 255], [0, 0, 0], [3, 200, 90]]], np.uint8)
GREYS = np.array([[0, 128, 255], [3, 77, 200]], np.uint8)
WHITE = [255, 255, 255]
EVERY_COMPRESSION = [None, "lzw", "zlib", "packbits", "zstd"]


def tiff(samples: np.ndarray, photometric: str | int = "rgb", **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def rgb(data: bytes) -> np.ndarray:
    image = read_image("init_image", data, max_pixels=100_000)
    assert image.mode == "RGB"
    return np.asarray(image)


def mask(data: bytes) -> list[list[int]]:
    levels: list[list[int]] = np.asarray(read_mask("mask_image", data, max_pixels=100_000)).tolist()
    return levels


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=-1)


def planes(samples: np.ndarray) -> np.ndarray:
    return np.moveaxis(samples, -1, 0)


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidField) as refused:
        rgb(data)
    assert refused.value.status == 400
    start = "init_image is a TIFF file that cannot be read: "
    assert refused.value.message.startswith(start)
    return refused.value.message.removeprefix(start)


@pytest.mark.parametrize("compression", EVERY_COMPRESSION)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_colours_of_any_layout(compression: str | None, byteorder: str, planar: bool, depth: Any) -> None:
    values: np.ndarray = COLOURS.astype(depth) * (257 if depth is np.uint16 else 1)
    options: dict[str, Any] = {"compression": compression, "byteorder": byteorder, "rowsperstrip": 1}
    if compression in ("lzw", "zlib"):
        options["predictor"] = True
    if planar:
        values, options = planes(values), {**options, "planarconfig": "separate"}
    assert (rgb(tiff(values, **options)) == COLOURS).all()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiles_and_large_files(planar: bool, bigtiff: bool) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    samples = values.astype(np.uint16) * 257
    options: dict[str, Any] = {"tile": (16, 32), "bigtiff": bigtiff, "compression": "zlib"}
    data = tiff(planes(samples), planarconfig="separate", **options) if planar else tiff(samples, **options)
    assert (rgb(data) == values).all()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", EVERY_COMPRESSION)
@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (GREYS, GREYS),
        (GREYS.astype(np.uint16) * 257, GREYS),
        (GREYS.astype(np.uint32) * 0x01010101, GREYS),
        (GREYS.astype(np.uint32) * 257, GREYS),  # 32 bits that hold 16
        (GREYS.astype(np.float32) / 255, GREYS),
        (GREYS.astype(np.float64), GREYS),
        (GREYS.astype(np.float16) / 255, GREYS),
        (GREYS > 100, np.where(GREYS > 100, 255, 0).astype(np.uint8)),
    ],
)
def test_either_end_of_grey_may_be_zero(
    values: np.ndarray, levels: np.ndarray, compression: str | None, byteorder: str
) -> None:
    options = {"compression": compression, "byteorder": byteorder}
    assert (rgb(tiff(values, "minisblack", **options)) == grey(levels)).all()
    assert (rgb(tiff(values, "miniswhite", **options)) == 255 - grey(levels)).all()
    assert mask(tiff(values, "miniswhite", **options)) == (255 - levels).tolist()


@pytest.mark.parametrize("bits", [2, 4, 10, 12])
def test_packed_bits(bits: int) -> None:
    full = (1 << bits) - 1
    values = np.array([[0, full, full // 3]], np.uint16 if bits > 8 else np.uint8)
    levels = np.array([[0, 255, 85]], np.uint8)
    assert (rgb(tiff(values, "minisblack", bitspersample=bits)) == grey(levels)).all()
    assert (rgb(tiff(values, "miniswhite", bitspersample=bits)) == 255 - grey(levels)).all()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_grey_with_alpha(depth: Any, planar: bool) -> None:
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[depth]
    values: np.ndarray = (np.array([[[100, 255], [0, 0], [0, 128]]]) * scale).astype(depth)
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]}
    data = (
        tiff(planes(values), "minisblack", planarconfig="separate", **options)
        if planar
        else tiff(values, "minisblack", planarconfig="contig", **options)
    )
    assert rgb(data).tolist() == [[[100] * 3, WHITE, [127] * 3]]
    assert mask(data) == [[100, 0, 0]]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_premultiplied_alpha(depth: Any) -> None:
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[depth]
    # Half-transparent red, whose red is multiplied, and a pixel that is all of it.
    values: np.ndarray = (np.array([[[128, 0, 0, 128], [10, 20, 30, 255], [0, 0, 0, 0]]]) * scale).astype(depth)
    assert rgb(tiff(values, extrasamples=["assocalpha"])).tolist() == [[[255, 127, 127], [10, 20, 30], WHITE]]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", [1, 2, 5])
def test_spot_channels_are_ignored(extra: int, depth: Any, planar: bool) -> None:
    spots = np.full((*COLOURS.shape[:2], extra), 99, np.uint8)
    values: np.ndarray = np.dstack([COLOURS, spots]).astype(depth) * (257 if depth is np.uint16 else 1)
    options: dict[str, Any] = {"extrasamples": ["unspecified"] * extra}
    data = (
        tiff(planes(values), planarconfig="separate", **options)
        if planar
        else tiff(values, planarconfig="contig", **options)
    )
    assert (rgb(data) == COLOURS).all()


def test_alpha_after_spot_channels_is_alpha() -> None:
    values = np.array([[[10, 20, 30, 99, 255], [10, 20, 30, 99, 0]]], np.uint8)
    data = tiff(values, planarconfig="contig", extrasamples=["unspecified", "unassalpha"])
    assert rgb(data).tolist() == [[[10, 20, 30], WHITE]]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_with_and_without_alpha(depth: Any, planar: bool) -> None:
    inks = np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]])
    colours = [[WHITE, [255, 0, 0], [0, 0, 0]]]
    scale = 257 if depth is np.uint16 else 1

    def cmyk(values: np.ndarray, *extra: str) -> bytes:
        values = (values * scale).astype(depth)
        options: dict[str, Any] = {"extrasamples": list(extra)} if extra else {}
        if planar:
            return tiff(planes(values), "separated", planarconfig="separate", **options)
        return tiff(values, "separated", planarconfig="contig", **options)

    assert rgb(cmyk(inks)).tolist() == colours
    alpha = np.array([[[255], [255], [0]]])
    assert rgb(cmyk(np.dstack([inks, alpha]), "unassalpha")).tolist() == [[WHITE, [255, 0, 0], WHITE]]
    assert rgb(cmyk(np.dstack([inks, alpha]), "unspecified")).tolist() == colours


@pytest.mark.parametrize("photometric", [8, 9])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_lab(photometric: int, depth: Any) -> None:
    # White, black and the red of sRGB, L in percent.
    colours = [(100, 0, 0), (0, 0, 0), (54, 81, 70)]
    if depth is np.uint8:
        stored = [(light * 2.55, a + 128 * (photometric == 9), b + 128 * (photometric == 9)) for light, a, b in colours]
    elif photometric == 8:
        stored = [(light * 655.35, a * 256, b * 256) for light, a, b in colours]
    else:
        stored = [(light * 652.8, (a + 128) * 256, (b + 128) * 256) for light, a, b in colours]
    values: np.ndarray = np.rint(np.array([stored])).astype(np.int32).astype(depth)
    white, black, red = rgb(tiff(values, photometric))[0].astype(int)
    assert white.min() >= 253
    assert black.max() <= 2
    assert np.abs(red - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"}])
def test_float_colours(dtype: type, options: dict[str, Any]) -> None:
    unit = COLOURS.astype(np.float64) / 255
    assert (rgb(tiff(unit.astype(dtype), **options)) == COLOURS).all()
    assert (rgb(tiff(COLOURS.astype(dtype), **options)) == COLOURS).all()
    light = np.array([[[4.0, 0.5, -1.0], [0, 0, 0], [0, 0, 0]]])  # a highlight is cut, not averaged
    assert rgb(tiff(light.astype(dtype), **options))[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize("full", [255, 65535])
def test_palettes_of_either_scale(full: int) -> None:
    table = np.zeros((3, 256), np.uint16)
    table[:, :3] = np.array([[full, 0, 0], [0, full, 0], [0, 0, full]])
    data = tiff(np.array([[0, 1, 2]], np.uint8), "palette", colormap=table)
    assert rgb(data).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_jpeg_inside(options: dict[str, Any], planar: bool) -> None:
    values = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    options = {**options, "compression": "jpeg", "compressionargs": {"level": 95}}
    data = tiff(planes(values), planarconfig="separate", **options) if planar else tiff(values, **options)
    assert np.abs(rgb(data).astype(int) - (200, 30, 90)).max() <= 6


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_faxes(compression: str, save: Bytes) -> None:
    page = Image.new("1", (64, 64), 1)
    page.paste(0, (8, 8, 30, 60))
    data = save(page, "TIFF", compression=compression)
    assert (rgb(data) == grey(np.asarray(page).astype(np.uint8) * 255)).all()


@pytest.mark.parametrize(("orientation", "first"), [(1, 0), (3, 5), (6, 3), (8, 2)])
@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_pictures_are_turned(orientation: int, first: int, compression: str | None) -> None:
    values = np.repeat(np.repeat(COLOURS, 16, axis=0), 16, axis=1)
    # tag, type, count, value, for the first page only
    data = tiff(values, compression=compression, extratags=[(274, 3, 1, orientation, True)])
    image = rgb(data)
    assert image.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    corner = COLOURS.reshape(-1, 3)[first].astype(int)
    assert np.abs(image[4:8, 4:8].mean(axis=(0, 1)) - corner).max() <= 12


def test_of_many_pages_the_first_counts() -> None:
    pages = np.stack([COLOURS, 255 - COLOURS, COLOURS]).astype(np.uint16) * 257
    assert (rgb(tiff(pages, planarconfig="contig")) == COLOURS).all()


# --- what is refused, by name ---------------------------------------------------------------------


def test_other_compressions_are_refused_by_name() -> None:
    for name in ("lzma", "lerc", "webp", "jpeg2000"):
        assert "save it with LZW, ZIP or no compression" in refusal(tiff(COLOURS, compression=name))
    assert refusal(tiff(COLOURS, compression="lzma")).startswith("it is compressed with LZMA")


@pytest.mark.parametrize(
    ("values", "photometric", "words"),
    [
        (GREYS.astype(np.int16), "minisblack", "samples of 16 bits and format 2"),
        (GREYS.astype(np.int8), "minisblack", "samples of 8 bits and format 2"),
        (GREYS.astype(np.uint64), "minisblack", "samples of 64 bits and format 1"),
        (GREYS.astype(np.complex64), "minisblack", "format 6"),
        (COLOURS, 10, "photometric interpretation 10; save it as RGB"),
        (np.zeros((2, 3, 20), np.uint8), "minisblack", "20 samples of 8 bits per pixel; at most 16"),
    ],
)
def test_other_samples_are_refused_by_name(values: np.ndarray, photometric: str | int, words: str) -> None:
    assert words in refusal(tiff(values, photometric, planarconfig="contig" if values.ndim > 2 else None))


def test_a_cameras_raw_file_is_refused() -> None:
    data = tiff(COLOURS, extratags=[(50706, 1, 4, bytes([1, 4, 0, 0]), True)])
    assert refusal(data) == "it is a camera's raw file; export it as TIFF or JPEG"


def test_subsampled_ycbcr_without_compression_is_refused() -> None:
    data = by_hand([(256, 3, 4), (257, 3, 4), (258, 3, 8), (259, 3, 1), (262, 3, 6), (277, 3, 3), (530, 3, 2)], 24)
    assert "YCbCr with subsampling" in refusal(data)


def test_grey_of_many_samples_that_are_not_named_is_refused() -> None:
    grey_of_three = [(256, 3, 4), (257, 3, 2), (258, 3, 8), (262, 3, 1), (277, 3, 3)]
    assert refusal(by_hand(grey_of_three, 24)) == "it is grey with 3 samples per pixel; save it as RGB"


def test_what_the_colours_are_may_be_left_out() -> None:
    assert rgb(by_hand([(256, 3, 4), (257, 3, 2), (258, 3, 8), (277, 3, 3)], 24)).tolist() == [[[0, 0, 0]] * 4] * 2
    assert mask(by_hand([(256, 3, 4), (257, 3, 2), (258, 3, 8)], 8)) == [[0] * 4] * 2


def test_bits_in_the_other_order() -> None:
    data = by_hand([(256, 3, 16), (257, 3, 1), (258, 3, 1), (262, 3, 1), (266, 3, 2)], 2)
    data = data[:8] + bytes([0b00000011, 0b10000000]) + data[10:]
    assert mask(data) == [[255, 255] + [0] * 13 + [255]]


def by_hand(tags: list[tuple[int, int, int]], length: int) -> bytes:
    """A little-endian file of one strip of ``length`` bytes, of tags by code, type and value."""
    tags = [*tags, (273, 4, 8), (279, 4, length)]
    entries = [struct.pack("<HHII", code, kind, 1, value) for code, kind, value in sorted(tags)]
    start = 8 + length
    return (
        b"II*\0"
        + struct.pack("<I", start)
        + bytes(length)
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
    )


# --- limits ---------------------------------------------------------------------------------------


def enlarge(data: bytes, code: int, kind: int, count: int) -> bytes:
    """The file with one more tag of many values."""
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    old = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(entries)]
    old = [entry for entry in old if struct.unpack_from("<H", entry) != (code,)]
    values = struct.pack("<I", 1) * count
    new = struct.pack("<HHII", code, kind, count, len(data))
    directory = sorted([*old, new], key=lambda entry: struct.unpack_from("<H", entry))
    place = len(data) + len(values)
    body = struct.pack("<H", len(directory)) + b"".join(directory) + bytes(4)
    return data[:4] + struct.pack("<I", place) + data[8:] + values + body


@pytest.mark.parametrize("code", [270, 700, 34665, 34377, 33723, 40000, 65000])
@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_millions_of_values_that_no_picture_needs_cost_nothing(code: int, compression: str | None) -> None:
    data = enlarge(tiff(np.repeat(np.repeat(COLOURS, 16, 0), 16, 1), compression=compression), code, 4, 2_000_000)
    began = time.perf_counter()
    assert rgb(data).shape == (32, 48, 3)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("code", [258, 273, 279, 320, 338, 339, 530])
def test_millions_of_values_that_a_picture_might_need_are_refused(code: int) -> None:
    assert refusal(enlarge(tiff(COLOURS), code, 4, 2_000_000)).startswith(f"it has 2,000,000 values of tag {code}; at")


def test_pixels_are_counted_before_anything_is_decoded() -> None:
    data = by_hand([(256, 4, 1 << 20), (257, 4, 1 << 20), (258, 3, 8), (259, 3, 5), (262, 3, 1)], 16)
    with pytest.raises(OutOfLimits, match="1048576 x 1048576 pixels"):
        rgb(data)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_strips_that_are_missing_are_not_read_as_black(compression: str | None) -> None:
    values = np.full((64, 64, 3), 0xFFFF, np.uint16)
    data = tiff(values, compression=compression, rowsperstrip=8)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages.first.tags
        places = [tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset]
    for place in places:
        assert refusal(data[:place] + bytes(2) + data[place + 2 :] if place else data)


def test_more_strips_than_the_picture_has_are_refused() -> None:
    data = enlarge(enlarge(tiff(COLOURS), 273, 4, 60_000), 279, 4, 60_000)
    assert refusal(data) == "it has 60000 strips or tiles in place of 1"


def test_many_deep_samples_are_refused_before_they_are_unpacked() -> None:
    values = np.zeros((1000, 1000, 16), np.float32)
    content = tiff(values, photometric="rgb", compression="zlib", extrasamples=[0] * 13)
    assert len(content) < 100_000
    with pytest.raises(OutOfLimits, match="64,000,000 bytes of samples; at most 8,000,000 are allowed"):
        read_image("image", content, max_pixels=1_000_000)
