import io
import itertools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from icc import icc_profile
from PIL import Image, ImageCms

from sd_api.imaging.decoding import read_image, read_mask

Bytes = Callable[..., bytes]


def rgb(data: bytes) -> list[tuple[int, int, int]]:
    """The pixels of a file read as a picture, row by row."""
    image = read_image("init_image", data, max_pixels=1000)
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


def mask(data: bytes) -> list[int]:
    """The pixels of a file read as a mask, row by row."""
    image = read_mask("mask_image", data, max_pixels=1000)
    assert (image.mode, image.info) == ("L", {})
    levels: list[int] = np.asarray(image).reshape(-1).tolist()
    return levels


def row(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return image


def greys(*levels: int) -> list[tuple[int, int, int]]:
    return [(level, level, level) for level in levels]


# --- transparency ---------------------------------------------------------------------------------


def test_transparency_is_flattened_onto_white(save: Bytes) -> None:
    colours = row("RGBA", (255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 255, 128))
    assert rgb(save(colours)) == [(255, 0, 0), (255, 255, 255), (127, 127, 255)]
    assert rgb(save(row("LA", (100, 255), (0, 0), (0, 128)))) == greys(100, 255, 127)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_read_from_every_format_that_has_it(file_format: str, save: Bytes) -> None:
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    colours = row("RGBA", (255, 0, 0, 255), (0, 0, 0, 0))
    assert rgb(save(colours, file_format, **options)) == [(255, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(file_format: str, save: Bytes) -> None:
    image = row("P", 0, 1, 2)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert rgb(save(image, file_format)) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert rgb(save(image, file_format, transparency=1)) == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]


def test_palette_colours_may_be_half_transparent(save: Bytes) -> None:
    image = row("P", 0, 1, 2)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 0])
    assert rgb(save(image, transparency=bytes([255, 0, 128]))) == [(255, 0, 0), (255, 255, 255), (127,) * 3]


def test_a_palette_with_an_alpha_band_is_flattened(save: Bytes) -> None:
    image = row("PA", (0, 255), (1, 0))
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert rgb(save(image, "TIFF")) == [(255, 0, 0), (255, 255, 255)]


def test_one_colour_may_stand_for_transparency(save: Bytes) -> None:
    colours = row("RGB", (1, 2, 3), (9, 9, 9))
    assert rgb(save(colours, transparency=(1, 2, 3))) == [(255, 255, 255), (9, 9, 9)]
    assert rgb(save(row("L", 7, 8), transparency=7)) == greys(255, 8)
    assert rgb(save(row("1", 0, 255), transparency=0)) == greys(255, 255)


# --- depths and colour models ---------------------------------------------------------------------


def sixteen_bits(*levels: int) -> Image.Image:
    return Image.fromarray(np.array([levels], np.uint16))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(file_format: str, save: Bytes) -> None:
    levels = sixteen_bits(0, 128, 129, 32896, 65535)
    assert levels.mode == "I;16"
    assert rgb(save(levels, file_format)) == greys(0, 0, 1, 128, 255)


def test_sixteen_bits_of_either_byte_order_are_scaled(save: Bytes) -> None:
    big_endian = Image.fromarray(np.array([[0, 32896, 65535]], ">u2"))
    assert big_endian.mode == "I;16B"
    assert rgb(save(big_endian, "TIFF", big_endian=True)) == greys(0, 128, 255)


def test_thirty_two_bit_integers_are_read_as_sixteen(save: Bytes) -> None:
    assert rgb(save(row("I", -5, 32896, 65535, 70000), "TIFF")) == greys(0, 128, 255, 255)


def test_sixteen_bits_may_have_a_transparent_value(save: Bytes) -> None:
    assert rgb(save(sixteen_bits(256, 257), transparency=256)) == greys(255, 1)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ((0.0, 0.5, 1.0), (0, 128, 255)),
        ((0.0, 0.5, 1.0, 1.7), (0, 128, 255, 255)),  # a highlight does not make the rest black
        ((0.0, 128.0, 255.0, 300.0), (0, 128, 255, 255)),
        ((-1.0, float("nan"), float("inf"), float("-inf")), (0, 0, 255, 0)),
    ],
)
def test_floats_are_read_at_either_scale(values: tuple[float, ...], levels: tuple[int, ...], save: Bytes) -> None:
    assert rgb(save(row("F", *values), "TIFF")) == greys(*levels)


@pytest.mark.parametrize(
    ("colour", "samples", "pixel"),
    [
        (2, (0x1234, 0x8000, 0xFFFF), (0x12, 0x80, 0xFF)),
        (6, (0x1234, 0x8000, 0xFFFF, 0xFFFF), (0x12, 0x80, 0xFF)),
        (6, (0x1234, 0x8000, 0xFFFF, 0), (255, 255, 255)),
        (4, (0x1234, 0xFFFF), (0x12, 0x12, 0x12)),
    ],
)
def test_sixteen_bit_colours_are_scaled(
    colour: int, samples: tuple[int, ...], pixel: tuple[int, int, int], png: Bytes
) -> None:
    one_row = b"\0" + struct.pack(f">{len(samples)}H", *samples)
    assert rgb(png((1, 1), one_row, depth=16, colour=colour)) == [pixel]


def test_one_bit_and_greyscale(save: Bytes) -> None:
    assert rgb(save(row("1", 0, 255))) == greys(0, 255)
    assert rgb(save(row("L", 0, 77, 255))) == greys(0, 77, 255)


def test_cmyk_without_a_profile(save: Bytes) -> None:
    inks = [(0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]
    assert rgb(save(row("CMYK", *inks), "TIFF")) == [(255, 255, 255), (255, 0, 0), (0, 0, 0)]
    for ink, colour in zip(inks, [255, 76, 0], strict=True):
        (level,) = mask(save(Image.new("CMYK", (1, 1), ink), "JPEG", quality=100))
        assert abs(level - colour) <= 3


def test_lab_and_ycbcr(save: Bytes) -> None:
    ((red, green, blue),) = rgb(save(row("RGB", (255, 0, 0)).convert("LAB"), "TIFF"))
    assert red > 240
    assert max(green, blue) < 30
    colours = row("YCbCr", (76, 85, 255))
    ((red, green, blue),) = rgb(save(colours, "TIFF", compression="jpeg", quality=100))
    assert red > 240
    assert max(green, blue) < 15


# --- profiles -------------------------------------------------------------------------------------


def strange_inks() -> bytes:
    """A CMYK profile in which the ink that is called cyan is green and all others are black."""
    lab = {(0, 0, 0, 0): bytes([255, 128, 128]), (1, 0, 0, 0): bytes([128, 68, 188])}
    nodes = itertools.product((0, 1), (0, 1), (0, 1), (0, 1))
    grid = b"".join(lab.get(node, bytes([0, 128, 128])) for node in nodes)
    identity = struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    curve = bytes(range(256))
    to_lab = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + curve * 4 + grid + curve * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": to_lab})


def linear_grey() -> bytes:
    return icc_profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 0x100)})


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def kept_profile(data: bytes) -> bytes | None:
    info = read_image("init_image", data, max_pixels=1000).info
    assert set(info) <= {"icc_profile"}
    return info.get("icc_profile")


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(file_format: str, save: Bytes) -> None:
    def convert(ink: tuple[int, ...]) -> tuple[int, int, int]:
        data = save(Image.new("CMYK", (1, 1), ink), file_format, icc_profile=strange_inks())
        assert kept_profile(data) is None
        return rgb(data)[0]

    assert min(convert((0, 0, 0, 0))) >= 253
    red, green, blue = convert((255, 0, 0, 0))  # Pillow alone would make it (0, 255, 255)
    assert green > 120 > 60 > max(red, blue)
    assert max(convert((0, 255, 0, 0))) <= 5


def test_greyscale_goes_through_its_profile_but_a_mask_does_not(save: Bytes) -> None:
    data = save(row("L", 0, 128, 255), icc_profile=linear_grey())
    assert rgb(data) == greys(0, 188, 255)
    assert kept_profile(data) is None
    assert mask(data) == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_the_profile_of_rgb_pixels_is_kept(mode: str, file_format: str, save: Bytes) -> None:
    profile = srgb()
    image = row("RGB", (255, 0, 0), (0, 0, 255)).convert(mode)
    data = save(image, file_format, icc_profile=profile)
    assert kept_profile(data) == profile
    assert rgb(data) == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("profile", [b"no profile", strange_inks()])
def test_a_profile_that_does_not_fit_the_pixels_is_dropped(profile: bytes, save: Bytes) -> None:
    data = save(row("RGB", (255, 0, 0)), icc_profile=profile)
    assert kept_profile(data) is None
    assert rgb(data) == [(255, 0, 0)]


@pytest.mark.parametrize("mode", ["L", "LA", "CMYK"])
def test_pixels_that_were_not_rgb_carry_no_profile_on(mode: str, save: Bytes) -> None:
    assert kept_profile(save(Image.new(mode, (1, 1)), "TIFF", icc_profile=srgb())) is None


def test_a_damaged_profile_does_not_cost_the_picture(save: Bytes) -> None:
    damaged = strange_inks()[:140]
    assert rgb(save(row("CMYK", (255, 0, 0, 0)), "TIFF", icc_profile=damaged)) == [(0, 255, 255)]


def test_other_information_is_not_carried_on(save: Bytes) -> None:
    file = io.BytesIO(save(row("RGB", (1, 2, 3)), "JPEG", comment="secret", dpi=(72, 72)))
    assert read_image("init_image", file.getvalue(), max_pixels=10).info == {}


# --- masks ----------------------------------------------------------------------------------------


def test_a_mask_without_alpha_is_its_luminance(save: Bytes) -> None:
    assert mask(save(row("L", 0, 100, 255))) == [0, 100, 255]
    assert mask(save(row("1", 0, 255))) == [0, 255]
    assert mask(save(sixteen_bits(0, 32896, 65535))) == [0, 128, 255]
    assert mask(save(row("RGB", (0, 0, 0), (255, 0, 0), (255, 255, 255)))) == [0, 76, 255]


def test_opaque_alpha_is_ignored(save: Bytes) -> None:
    assert mask(save(row("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)))) == [0, 255]
    assert mask(save(row("LA", (0, 255), (0, 255)))) == [0, 0]


def test_light_paint_on_transparency_is_the_mask(save: Bytes) -> None:
    white = (255, 255, 255)
    painted = row("RGBA", (*white, 0), (*white, 255), (*white, 128), (0, 0, 0, 255), (0, 0, 0, 0))
    assert mask(save(painted)) == [0, 255, 128, 0, 0]
    assert mask(save(row("LA", (255, 0), (255, 255), (128, 128)))) == [0, 255, 64]


def test_black_paint_on_transparency_is_the_mask_too(save: Bytes) -> None:
    painted = row("RGBA", (255, 255, 255, 0), (0, 0, 0, 255), (0, 0, 0, 100), (3, 3, 3, 255))
    assert mask(save(painted)) == [0, 255, 100, 255]


@pytest.mark.parametrize(
    "hue",
    [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255), (0, 0, 139), (128, 0, 0), (40, 0, 0), (255, 200, 200)],
)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_coloured_paint_on_transparency_counts_as_paint(hue: tuple[int, ...], file_format: str, save: Bytes) -> None:
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    painted = row("RGBA", (0, 0, 0, 0), (*hue, 255), (*hue, 128), (*hue, 20), (255, 255, 255, 0))
    assert mask(save(painted, file_format, **options)) == [0, 255, 128, 20, 0]


def test_a_quick_mask_is_half_transparent_everywhere(save: Bytes) -> None:
    assert mask(save(row("RGBA", (255, 0, 0, 128), (255, 0, 0, 0), (255, 0, 0, 127)))) == [128, 0, 127]


def test_black_and_white_beside_a_colour_are_paint_too(save: Bytes) -> None:
    painted = row("RGBA", (255, 0, 0, 255), (0, 0, 0, 255), (255, 255, 255, 200), (9, 9, 9, 0))
    assert mask(save(painted)) == [255, 255, 200, 0]


def test_a_palette_of_colours_on_transparency_is_paint(save: Bytes) -> None:
    image = row("P", 0, 1)
    image.putpalette([0, 0, 255, 0, 0, 0])
    assert mask(save(image, transparency=1)) == [255, 0]
    assert mask(save(image, "GIF", transparency=1)) == [255, 0]


def test_slightly_warm_or_cold_paint_is_grey(save: Bytes) -> None:
    painted = row("RGBA", (255, 250, 240, 255), (0, 0, 3, 255), (128, 125, 131, 255), (0, 0, 0, 0))
    light, dark, middle, none = mask(save(painted))
    assert (light >= 249, dark, none) == (True, 0, 0)
    assert 124 <= middle <= 129


def test_what_is_invisible_has_no_hue(save: Bytes) -> None:
    assert mask(save(row("RGBA", (255, 255, 255, 255), (255, 0, 0, 0), (0, 0, 0, 255)))) == [255, 0, 0]


def test_an_opaque_coloured_mask_is_its_greyscale_copy(save: Bytes) -> None:
    colours = row("RGB", (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255))
    assert mask(save(colours)) == [76, 29, 150, 255]
    assert mask(save(colours.convert("RGBA"))) == [76, 29, 150, 255]


def test_a_transparent_mask_replaces_nothing(save: Bytes) -> None:
    assert mask(save(row("RGBA", (255, 255, 255, 0), (0, 0, 0, 0)))) == [0, 0]


def test_transparent_palette_colours_count_as_holes(save: Bytes) -> None:
    image = row("P", 0, 1)
    image.putpalette([0, 0, 0, 0, 255, 0])
    assert mask(save(image, transparency=1)) == [255, 0]
    assert mask(save(row("RGB", (255, 255, 255), (9, 9, 9)), transparency=(9, 9, 9))) == [255, 0]
    assert mask(save(row("L", 200, 0), transparency=0)) == [200, 0]
