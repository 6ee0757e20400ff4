"""Photoshop's files: the flattened picture, in all modes that are read."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from imaging.psd_files import psd
from PIL import Image, ImageCms

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.decoding import media_type_of, read_image, read_mask

Bytes = Callable[..., bytes]
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [16, 128, 240]], [[255, 255, 255], [0, 0, 0], [3, 200, 90]]], np.uint8)
PLANES = np.moveaxis(COLOURS, -1, 0)
GREY = np.array([[[0, 128, 255], [3, 77, 200]]], np.uint8)
WHITE = [255, 255, 255]


def rgb(data: bytes) -> list[Any]:
    image = read_image("init_image", data, max_pixels=10_000)
    assert image.mode == "RGB"
    pixels: list[Any] = np.asarray(image).tolist()
    return pixels


def mask(data: bytes) -> list[Any]:
    levels: list[Any] = np.asarray(read_mask("mask_image", data, max_pixels=10_000)).tolist()
    return levels


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidField) as refused:
        rgb(data)
    start = "init_image is a PSD file that cannot be read: "
    assert refused.value.message.startswith(start)
    return refused.value.message.removeprefix(start)


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("depth", [8, 16])
def test_colours(depth: int, version: int, compression: int) -> None:
    planes = PLANES.astype(int) * (257 if depth == 16 else 1)
    assert rgb(psd("rgb", planes, depth=depth, version=version, compression=compression)) == COLOURS.tolist()


def test_photoshop_itself_and_other_programs_agree(save: Bytes) -> None:
    data = psd("rgb", PLANES)
    assert media_type_of(data) == "image/vnd.adobe.photoshop"
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == COLOURS.tolist() == rgb(data)


@pytest.mark.parametrize("mode", ["grey", "duotone"])
@pytest.mark.parametrize("depth", [8, 16])
def test_grey(depth: int, mode: str) -> None:
    planes = GREY.astype(int) * (257 if depth == 16 else 1)
    data = psd(mode, planes, depth=depth)
    assert rgb(data) == np.repeat(GREY[0][..., None], 3, -1).tolist()
    assert mask(data) == GREY[0].tolist()


@pytest.mark.parametrize("compression", [0, 1])
def test_a_bit_that_is_set_is_black(compression: int) -> None:
    black = np.zeros((1, 2, 11))
    black[0, 0, :3] = black[0, 1, 10] = 1
    levels = mask(psd("bitmap", black, depth=1, compression=compression))
    assert levels == (255 * (1 - black[0])).tolist()


def test_indexed_colours() -> None:
    table = np.zeros((3, 256), np.uint8)
    table[:, :3] = [[255, 0, 1], [0, 255, 2], [0, 0, 3]]
    indices = np.array([[[0, 1, 2]]])
    assert rgb(psd("indexed", indices, palette=table.tobytes())) == [[[255, 0, 0], [0, 255, 0], [1, 2, 3]]]
    transparent = psd("indexed", indices, palette=table.tobytes(), resources={1047: b"\0\1"})
    assert rgb(transparent) == [[[255, 0, 0], WHITE, [1, 2, 3]]]


@pytest.mark.parametrize("depth", [8, 16])
def test_cmyk_is_stored_as_the_paper_that_is_left(depth: int) -> None:
    inks = np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]])
    stored = np.moveaxis(255 - inks, -1, 0) * (257 if depth == 16 else 1)
    assert rgb(psd("cmyk", stored, depth=depth)) == [[WHITE, [255, 0, 0], [0, 0, 0]]]
    alpha = np.array([[[255, 0, 255]]]) * (257 if depth == 16 else 1)
    assert rgb(psd("cmyk", np.concatenate([stored, alpha]), depth=depth, layers=-1)) == [[WHITE, WHITE, [0, 0, 0]]]


@pytest.mark.parametrize("depth", [8, 16])
def test_lab(depth: int) -> None:
    colours = np.array([[[255, 128, 128], [0, 128, 128], [138, 209, 198]]])  # white, black and the red of sRGB
    stored = np.moveaxis(colours, -1, 0) * (257 if depth == 16 else 1)
    white, black, red = np.array(rgb(psd("lab", stored, depth=depth)))[0].astype(int)
    assert white.min() >= 252
    assert black.max() <= 3
    assert np.abs(red - [255, 0, 0]).max() <= 8


def test_the_profile_is_kept_or_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = read_image("init_image", psd("rgb", PLANES, resources={1039: profile}), max_pixels=100)
    assert image.info == {"icc_profile": profile}
    assert np.asarray(image).tolist() == COLOURS.tolist()
    assert read_image("init_image", psd("grey", GREY, resources={1039: profile}), max_pixels=100).info == {}


# --- transparency ---------------------------------------------------------------------------------

# Red that is all there, half there and not there, as Photoshop flattens it: over white.
FLATTENED = np.array([[[255, 255, 255]], [[0, 127, 255]], [[0, 127, 255]], [[255, 128, 0]]])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "marks",
    [
        {"layers": -1},
        {"blocks": {b"Lr16": struct.pack(">h", -2) + bytes(6)}},
        {"layers": 1, "blocks": {b"Anno": b"odd", b"Mtrn": b""}},
        {"blocks": {b"Mt16": b"", b"Patt": bytes(7)}},
    ],
)
def test_the_picture_may_be_transparent(marks: dict[str, Any], version: int) -> None:
    data = psd("rgb", FLATTENED, version=version, **marks)
    assert np.abs(np.array(rgb(data)) - [[[255, 0, 0], [255, 127, 127], WHITE]]).max() <= 1
    assert mask(data) == [[255, 128, 0]]


@pytest.mark.parametrize("marks", [{}, {"layers": 2}, {"layers": 0}])
def test_another_channel_is_a_saved_selection(marks: dict[str, Any]) -> None:
    planes = np.concatenate([PLANES, np.zeros((1, 2, 3), int), np.full((1, 2, 3), 9)])
    assert rgb(psd("rgb", planes, **marks)) == COLOURS.tolist()


def test_grey_paint_on_a_transparent_layer_is_a_mask() -> None:
    planes = np.array([[[255, 255, 127]], [[255, 0, 128]]])  # white, nothing, and half of black over white
    assert mask(psd("grey", planes, layers=-1)) == [[255, 0, 0]]
    assert mask(psd("grey", np.array([[[0, 255, 127]], [[255, 0, 128]]]), layers=-1)) == [[255, 0, 128]]


# --- what is refused ------------------------------------------------------------------------------

NO_PICTURE = {1057: struct.pack(">IB", 1, 0)}


def test_a_file_without_the_flattened_picture_is_refused() -> None:
    words = refusal(psd("rgb", np.full((3, 2, 3), 255), layers=3, resources=NO_PICTURE))
    assert words.startswith("it was saved without a flattened picture; in Photoshop, switch on")
    assert "Maximize PSD and PSB File Compatibility" in words
    deep = psd("rgb", np.full((3, 2, 3), 65535), depth=16, resources=NO_PICTURE, blocks={b"Lr16": b"\0\1" + bytes(6)})
    assert refusal(deep) == words


def test_a_file_without_layers_is_its_picture() -> None:
    assert rgb(psd("rgb", PLANES, resources=NO_PICTURE)) == COLOURS.tolist()
    assert rgb(psd("rgb", PLANES, layers=1, resources={1057: struct.pack(">IB", 1, 1)})) == COLOURS.tolist()


def test_other_kinds_are_refused_by_name() -> None:
    assert "choose Image > Mode > 16 Bits/Channel" in refusal(psd("rgb", PLANES, depth=32))
    assert "choose Image > Mode > RGB Color" in refusal(psd("multichannel", PLANES))
    assert "colour mode 3 with 2 channels of 8 bits" in refusal(psd("rgb", PLANES[:2]))
    assert "header is damaged" in refusal(psd("rgb", PLANES)[:5] + b"\3" + psd("rgb", PLANES)[6:])


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("version", [1, 2])
def test_a_picture_that_is_cut_off_is_refused_and_not_black(version: int, compression: int) -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, 20, 20))
    data = psd("rgb", planes, version=version, compression=compression)
    whole = rgb(data)
    for end in range(len(data) - 30, len(data)):
        try:
            assert rgb(data[:end]) == whole  # what is missing is ZIP's checksum
        except InvalidField:
            continue
    assert refusal(data[:-30])


def test_rows_that_are_too_short_are_refused_and_not_black() -> None:
    data = psd("rgb", PLANES)
    table = len(data) - 6 * 4 - 6 * 2  # six rows of three bytes each, with one byte before them
    assert data[table : table + 2] == b"\0\4"
    assert refusal(data[:table] + b"\0\2" * 6 + data[table + 12 :])


def test_thousands_of_resources_are_refused() -> None:
    resources = b"8BIM\0\1\0\0\0\0\0\0" * 20_000
    data = psd("rgb", PLANES)
    assert "image resources" in refusal(data[:30] + struct.pack(">I", len(resources)) + resources + data[34:])


def test_pixels_are_counted_before_they_are_unpacked() -> None:
    bomb = psd("rgb", PLANES, compression=2)
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 30_000, 30_000, 8, 3)
    with pytest.raises(OutOfLimits, match="30000 x 30000 pixels"):
        rgb(header + bomb[26:])
    # More than the picture needs is not unpacked.
    head = psd("rgb", PLANES, compression=2)[: -len(zlib.compress(PLANES.tobytes()))]
    assert rgb(head + zlib.compress(PLANES.tobytes() + bytes(30_000_000))) == COLOURS.tolist()
