"""What preprocessors make of pictures."""

import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageDraw

from sd_api.imaging.controls import KINDS, PREPROCESSORS, WITH_WEIGHTS, map_of


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_a_map_is_as_large_as_its_picture(name: str) -> None:
    for size in ((1, 1), (3, 200), (97, 61)):
        image = photograph(*size)
        made = map_of(image, name)
        assert (made.size, made.mode) == (size, "RGB")
        assert made.tobytes() == map_of(image, name).tobytes()
    assert PREPROCESSORS[name].kind in (None, *KINDS)
    assert name not in WITH_WEIGHTS


@pytest.mark.parametrize("name", ["canny", "softedge", "scribble", "lineart"])
def test_lines_are_where_a_picture_changes(name: str) -> None:
    picture = Image.new("RGB", (120, 100), "white")
    assert not array(map_of(picture, name)).any()
    ImageDraw.Draw(picture).line([(20, 20), (20, 80)], "black", 3)
    lines = array(map_of(picture, name)).max(axis=2)
    assert lines[30:70, 17:24].max(axis=1).min() > 60
    assert not lines[:, 45:].any()


def test_maps_that_are_the_picture() -> None:
    picture = photograph(60, 40)
    for name in ("none", "tile", "inpaint"):
        assert (array(map_of(picture, name)) == array(picture)).all()
    assert (array(map_of(picture, "invert")) == 255 - array(picture)).all()
