"""Drawings in documents whose colours sRGB does not have."""

import numpy as np
import pytest
from icc import adobe_rgb, display_p3
from pictures import photograph
from PIL import Image

from sd_api.imaging.gamut import into_document
from sd_api.imaging.profiles import from_srgb, to_srgb

PROFILES = pytest.mark.parametrize("profile", [adobe_rgb(), display_p3()], ids=["Adobe RGB", "Display P3"])


def shift(one: Image.Image, other: Image.Image) -> float:
    """By how many levels the mean colours differ, in the channel in which it is most; single pixels may have noise."""
    return float(np.abs((np.asarray(one, np.float64) - np.asarray(other)).mean(axis=(0, 1))).max())


def foliage() -> Image.Image:
    """Greens from dull to saturated."""
    red, green, blue = photograph(120, 90).split()
    return Image.merge(
        "RGB",
        [
            band.point(lambda v, low=low, share=share: low + int(v * share))
            for band, low, share in ((red, 10, 0.2), (green, 140, 0.4), (blue, 30, 0.3))
        ],
    )


@PROFILES
def test_a_drawing_that_is_what_the_model_has_seen_is_what_the_document_has(profile: bytes) -> None:
    document = foliage()
    seen = to_srgb(document, profile)
    assert shift(from_srgb(seen, profile), document) > 15
    assert shift(into_document(seen, lambda: document, profile), document) < 3


@PROFILES
def test_a_drawing_that_continues_the_document_is_as_saturated(profile: bytes) -> None:
    # As an autoencoder has it: a few levels off.
    document = Image.new("RGB", (40, 40), (20, 200, 60))
    drawn = to_srgb(document, profile).point([min(level + 6, 255) for level in range(256)] * 3)
    assert shift(from_srgb(drawn, profile), document) > 40
    assert shift(into_document(drawn, lambda: document, profile), document) < 16


@PROFILES
def test_colours_that_the_document_does_not_have_or_does_not_lose_are_those_of_srgb(profile: bytes) -> None:
    drawn = Image.merge("RGB", [Image.linear_gradient("L")] * 3)
    assert shift(into_document(drawn, foliage, profile), from_srgb(drawn, profile)) < 0.5
    muted = Image.blend(photograph(120, 90), Image.new("RGB", (120, 90), (128, 128, 128)), 0.6)
    document = from_srgb(muted, profile)
    assert into_document(drawn, lambda: document, profile).tobytes() == from_srgb(drawn, profile).tobytes()


def test_without_a_profile_a_drawing_stays_the_same() -> None:
    drawn = foliage()
    assert into_document(drawn, lambda: drawn, None) is drawn
