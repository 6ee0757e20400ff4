import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from sd_api.imaging.encoding import encode_png


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


def reopened(png: bytes) -> PngImageFile:
    image = PngImageFile(io.BytesIO(png))
    image.load()
    return image


def test_pixels_come_back_exactly() -> None:
    image = reopened(encode_png(picture()))
    assert image.mode == "RGB"
    assert image.tobytes() == picture().tobytes()
    assert image.text == {}


@pytest.mark.parametrize("mode", ["L", "CMYK", "P"])
def test_every_mode_without_alpha_becomes_rgb(mode: str) -> None:
    assert reopened(encode_png(picture().convert(mode))).mode == "RGB"


@pytest.mark.parametrize(
    ("parameters", "chunk"),
    [("a fox\nSteps: 20, Seed: 1", b"tEXt"), ("Café, 5 µm", b"tEXt"), ("狐 🦊", b"iTXt"), ("", b"tEXt")],
)
def test_parameters_are_in_the_chunk_that_suits_them(parameters: str, chunk: bytes) -> None:
    png = encode_png(picture(), parameters=parameters)
    assert chunk + b"parameters\0" in png
    assert reopened(png).text == {"parameters": parameters}


def test_parameters_that_no_encoding_has_a_place_for_do_not_cost_the_picture() -> None:
    png = encode_png(picture(), parameters="half \ud83e of a fox")
    assert reopened(png).text == {"parameters": "half ? of a fox"}


def test_the_profile_is_passed_on_and_nothing_else() -> None:
    image = picture()
    image.info = {"icc_profile": b"a profile", "comment": "secret", "exif": b"Exif\0\0secret"}
    png = encode_png(image)
    assert reopened(png).info == {"icc_profile": b"a profile"}
    assert b"secret" not in png
