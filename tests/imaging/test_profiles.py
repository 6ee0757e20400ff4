import numpy as np
import pytest
from icc import adobe_rgb, display_p3
from pictures import photograph
from PIL import Image, ImageCms

from sd_api.imaging.profiles import from_srgb, to_srgb

GREEN, RED, WHITE, BLACK = (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0)
# What colours of sRGB are in Adobe RGB (1998) and in Display P3.
KNOWN = [
    (adobe_rgb(), GREEN, (144, 255, 60)),
    (adobe_rgb(), RED, (219, 0, 0)),
    (adobe_rgb(), WHITE, WHITE),
    (adobe_rgb(), BLACK, BLACK),
    (display_p3(), RED, (234, 51, 35)),
    (display_p3(), WHITE, WHITE),
]


@pytest.mark.parametrize(("profile", "srgb", "known"), KNOWN)
def test_colours_are_converted_into_the_profile_and_back(
    profile: bytes, srgb: tuple[int, ...], known: tuple[int, ...]
) -> None:
    into = from_srgb(Image.new("RGB", (1, 1), srgb), profile)
    assert np.abs(np.asarray(into, np.int16) - known).max() <= 1
    back = to_srgb(into, profile)
    assert np.abs(np.asarray(back, np.int16) - srgb).max() <= 1
    assert (into.info, back.info) == ({}, {})


def test_there_is_nothing_to_convert_without_a_profile_that_differs() -> None:
    image = photograph(8, 8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (None, b"", srgb, adobe_rgb()[:200], b"damaged" * 40):
        assert to_srgb(image, profile) is image
        assert from_srgb(image, profile) is image
