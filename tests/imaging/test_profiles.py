import numpy as np
import pytest
from icc import adobe_rgb
from pictures import photograph
from PIL import Image, ImageCms

from sd_api.imaging.profiles import from_srgb, to_srgb

# What colours of sRGB are in Adobe RGB (1998).
KNOWN = {(0, 255, 0): (144, 255, 60), (255, 0, 0): (219, 0, 0), (255, 255, 255): (255, 255, 255), (0, 0, 0): (0, 0, 0)}


@pytest.mark.parametrize(("srgb", "adobe"), KNOWN.items())
def test_colours_are_converted_into_the_profile_and_back(srgb: tuple[int, ...], adobe: tuple[int, ...]) -> None:
    into = from_srgb(Image.new("RGB", (1, 1), srgb), adobe_rgb())
    assert np.abs(np.asarray(into, np.int16) - adobe).max() <= 1
    back = to_srgb(into, adobe_rgb())
    assert np.abs(np.asarray(back, np.int16) - srgb).max() <= 1
    assert (into.info, back.info) == ({}, {})


def test_there_is_nothing_to_convert_without_a_profile_that_differs() -> None:
    image = photograph(8, 8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (None, b"", srgb, adobe_rgb()[:200], b"damaged" * 40):
        assert to_srgb(image, profile) is image
        assert from_srgb(image, profile) is image
