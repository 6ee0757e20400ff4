"""How a mask fades towards its border, inside."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sd_api.imaging.masks import seam_reach, with_seam

SIZE = (300, 260)


def painted(kind: str) -> Image.Image:
    mask = Image.new("L", SIZE)
    draw = ImageDraw.Draw(mask)
    if kind == "line":
        draw.line((10, 20, 280, 250), 255, 2)
    elif kind == "ring":
        draw.ellipse((30, 30, 220, 220), outline=255, width=4)
    elif kind == "dots":
        for place in range(20, 240, 25):
            draw.ellipse((place, place, place + 6, place + 6), 255)
    elif kind == "frame":
        mask = Image.new("L", SIZE, 255)
        mask.paste(0, (6, 6, SIZE[0] - 6, SIZE[1] - 6))
    else:
        draw.rectangle((60, 50, 239, 199), 255)
    return mask


@pytest.mark.parametrize("kind", ["line", "ring", "dots", "frame"])
def test_what_is_thin_does_not_fade_away(kind: str) -> None:
    mask = painted(kind)
    inside = np.asarray(mask) > 0
    faded = np.asarray(with_seam(mask, 24, thin=True))
    assert not faded[~inside].any()
    assert faded[inside].mean() > 150
    # A border of this width leaves nothing of it to be drawn, which is what a request may ask for.
    assert np.asarray(with_seam(mask, 24))[inside].mean() < 40


def test_what_is_thick_fades_over_the_whole_width_to_its_corners() -> None:
    mask = painted("rectangle")
    assert with_seam(mask, 24, thin=True).tobytes() == with_seam(mask, 24).tobytes()


def test_what_is_thin_does_not_fade_away_beside_something_thick() -> None:
    mask = Image.new("L", (300, 260))
    mask.paste(255, (90, 70, 210, 190))
    # A line that touches nothing, and a hair that grows out of the thick part.
    mask.paste(255, (50, 70, 52, 190))
    mask.paste(255, (210, 120, 280, 123))
    faded = np.asarray(with_seam(mask, 24, thin=True))
    assert (faded[70:190, 50:52] == 255).all()
    assert faded[121, 214:280].min() > 180
    assert faded[130, 150] == 255
    assert faded[90, 90] < 20


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("kind", ["line", "ring", "dots", "frame", "rectangle"])
def test_a_part_of_a_mask_fades_as_it_does_in_the_whole(kind: str, thin: bool) -> None:
    mask, width = painted(kind), 9
    reach = seam_reach(width, thin=thin)
    part = (90 - reach, 80 - reach, 140 + reach, 120 + reach)
    faded = with_seam(mask.crop(part), width, thin=thin).crop((reach, reach, reach + 50, reach + 40))
    assert faded.tobytes() == with_seam(mask, width, thin=thin).crop((90, 80, 140, 120)).tobytes()
