"""What a picture has beside 8-bit RGB: 16 bits and transparency, read, laid under a drawing, and written."""

import io
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from imaging.psd_files import psd
from PIL import Image

from sd_api.imaging.blending import lay_over
from sd_api.imaging.decoding import is_deep, read_image, read_samples
from sd_api.imaging.encoding import encode_png

DEEP = np.random.default_rng(3).integers(0, 65536, (9, 7, 4), np.uint16)
PLANES = np.moveaxis(DEEP, -1, 0).astype(int)


def tiff(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric="rgb", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (imagecodecs.png_encode(DEEP), DEEP),
        (imagecodecs.png_encode(DEEP[..., :3].copy()), DEEP[..., :3]),
        (imagecodecs.png_encode(DEEP[..., 0].copy()), DEEP[..., :1].repeat(3, -1)),
        (encode_png(DEEP), DEEP),
        (tiff(DEEP, extrasamples=["unassalpha"]), DEEP),
        (tiff(DEEP[..., :3], compression="zlib", predictor=True, byteorder=">"), DEEP[..., :3]),
        (psd("rgb", PLANES[:3], depth=16), DEEP[..., :3]),
    ],
    ids=["PNG", "PNG RGB", "PNG grey", "our PNG", "TIFF", "TIFF RGB", "PSD"],
)
def test_16_bits_are_read_as_they_are(data: bytes, expected: np.ndarray[Any, Any]) -> None:
    samples = read_samples("image", data, deep=True)
    assert isinstance(samples, np.ndarray)
    assert samples.dtype == np.uint16
    assert np.array_equal(samples, expected)
    assert is_deep(data)
    in_eight = read_samples("image", data, deep=False)
    assert (in_eight is None) == (expected.shape[-1] == 3)


def test_an_opaque_picture_of_8_bits_has_nothing_more() -> None:
    opaque = Image.fromarray((DEEP >> 8).astype(np.uint8)).convert("RGB")
    for image in (opaque, opaque.convert("RGBA"), opaque.convert("P")):
        file = io.BytesIO()
        image.save(file, "PNG")
        assert read_samples("image", file.getvalue(), deep=True) is None
        assert not is_deep(file.getvalue())


def test_what_is_transparent_keeps_its_colour() -> None:
    clear = (DEEP >> 8).astype(np.uint8)
    samples = read_samples("image", encode_png(clear), deep=True)
    assert isinstance(samples, Image.Image)
    assert np.array_equal(np.asarray(samples), clear)
    opaque = clear[..., 3] == 255
    pixels = np.asarray(read_image("image", encode_png(clear), max_pixels=100))
    assert np.array_equal(pixels[opaque], clear[opaque][:, :3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_upright_as_8_are(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    plain = bytes(imagecodecs.png_encode(DEEP[..., :3].copy()))
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(body).to_bytes(4, "big") + b"eXIf" + body
    data = plain[:33] + chunk + zlib.crc32(b"eXIf" + body).to_bytes(4, "big") + plain[33:]
    samples = read_samples("image", data, deep=True)
    assert isinstance(samples, np.ndarray)
    assert np.array_equal(samples >> 8, np.asarray(read_image("image", data, max_pixels=100)))


def test_every_depth_is_written_with_its_chunks() -> None:
    for samples in (DEEP, DEEP[::2, ::2, :3], (DEEP >> 8).astype(np.uint8), np.tile(DEEP, (30, 1, 1))):
        png = encode_png(samples, parameters="a fox", profile=b"a profile")
        assert np.array_equal(imagecodecs.png_decode(png), samples)
        with Image.open(io.BytesIO(png)) as image:
            assert image.info["icc_profile"] == b"a profile"
            assert image.info["parameters"] == "a fox"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [3, 4])
def test_a_drawing_lies_over_samples(kind: Any, bands: int) -> None:
    white = int(np.iinfo(kind).max)
    before = np.full((300, 2, bands), white // 5, kind)
    levels = np.tile(np.array([[0, 255], [51, 51]], np.uint8), (150, 1))
    drawn, after = Image.new("RGB", (2, 300), (255, 0, 51)), before.copy()
    lay_over(after, drawn, Image.fromarray(levels))
    assert np.array_equal(after[levels == 0], before[levels == 0])
    full = [white, 0, white // 5, white][:bands]
    assert (after[levels == 255] == full).all()
    # A fifth of the drawing over what is opaque, or over what has a fifth of its opacity.
    alpha = 0.2 + 0.8 * (0.2 if bands == 4 else 1)
    soft = [((0.2 * new + (alpha - 0.2) * 0.2) / alpha) * white for new in (1, 0, 0.2)] + [alpha * white]
    assert np.abs(after[levels == 51].astype(float) - soft[:bands]).max() <= 0.51
