import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import composite, match_border
from PIL import Image
from scipy import ndimage

from sd_api.imaging import blending, masks
from sd_api.imaging.blending import CORRECTED
from sd_api.imaging.masks import with_seam

Pixels = npt.NDArray[np.uint8]


def blend(original: Pixels, generated: Pixels, mask: Pixels) -> npt.NDArray[np.int64]:
    return np.asarray(composite(*map(Image.fromarray, (original, generated, mask))), np.int64)


def gradient(height: int, width: int) -> Pixels:
    """A smooth picture with levels of 60 to 190, where a seam of few levels can be seen."""
    y, x = np.mgrid[:height, :width]
    bands = [60 + 130 * y / height, 60 + 130 * x / width, 125 + 60 * np.sin((x + y) / 90)]
    return np.asarray(np.rint(np.stack(bands, axis=2)), np.uint8)


def rectangle(size: int, left: int, right: int) -> Pixels:
    mask = np.zeros((size, size), np.uint8)
    mask[left:right, left:right] = 255
    return mask


SHAPES = {
    "square": rectangle(200, 50, 150),
    "left half": np.repeat(np.array([[255] * 100 + [0] * 100], np.uint8), 200, axis=0),
    "all but a line": np.where(np.arange(200) == 77, 0, 255).astype(np.uint8)[None].repeat(200, axis=0),
    "all but a point": 255 - rectangle(200, 101, 102),
    "blobs": ((ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(200, 200)), 9) > 0) * 255).astype(
        np.uint8
    ),
}


@settings(deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    seed=st.integers(0, 999),
    levels=st.sampled_from([[0, 255], [0, 1, 254, 255], list(range(256)), [0] * 50 + [255], [0] + [255] * 500]),
    shift=st.sampled_from([None, -6, 3, 15, 60]),
)
def test_kept_pixels_are_those_of_the_original(
    width: int, height: int, seed: int, levels: list[int], shift: int | None
) -> None:
    random = np.random.default_rng(seed)
    original, generated = random.integers(0, 256, (2, height, width, 3), np.uint8)
    if shift is not None:
        generated = np.clip(original.astype(int) + shift, 0, 255).astype(np.uint8)
    mask = random.choice(np.array(levels, np.uint8), (height, width))
    blended = blend(original, generated, mask)
    assert (blended[mask == 0] == original[mask == 0]).all()
    if mask.min() == 255:
        assert (blended == generated).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [(6, 6, 6), (-6, 4, -5), (8, 0, 0)])
def test_a_colour_shift_leaves_no_seam(shape: str, shift: tuple[int, int, int]) -> None:
    original, mask = gradient(200, 200), SHAPES[shape]
    generated = (original + np.array(shift)).astype(np.uint8)
    left_over = np.abs(blend(original, generated, mask) - original).max(axis=2)
    border = (mask == 255) & ndimage.binary_dilation(mask == 0, np.ones((3, 3)))
    assert border.any()
    assert left_over[border].max() <= 1
    # Nor does the correction itself end at an edge that could be seen.
    assert np.abs(np.diff(left_over, axis=0)).max() <= 1
    assert np.abs(np.diff(left_over, axis=1)).max() <= 1


@pytest.mark.parametrize("noise", [2, 8])
def test_a_colour_shift_is_found_in_spite_of_lost_detail(noise: int) -> None:
    random = np.random.default_rng(0)
    original = np.clip(gradient(200, 200) + random.normal(0, noise, (200, 200, 3)), 0, 255).astype(np.uint8)
    generated = np.clip(gradient(200, 200) - 6, 0, 255).astype(np.uint8)
    mask = SHAPES["square"]
    just_inside = (mask == 255) & ndimage.binary_dilation(mask == 0, iterations=3)
    left_over = (blend(original, generated, mask) - gradient(200, 200))[just_inside].mean()
    assert abs(left_over) < 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [24, 30, 36, 40, 60, -60])
def test_other_content_does_not_bleed(shape: str, shift: int) -> None:
    original, mask = gradient(200, 200), SHAPES[shape]
    generated = (original.astype(int) + shift).astype(np.uint8)
    expected = np.where(mask[..., None] == 255, generated, original)
    assert (blend(original, generated, mask) == expected).all()


def test_a_little_other_content_beside_the_border_does_not_spoil_the_estimate() -> None:
    original, mask = gradient(200, 200), SHAPES["left half"]
    generated = (original + 6).astype(np.uint8)
    generated[95:105, 100:110] = 255
    left_over = blend(original, generated, mask)[:, 99] - original[:, 99].astype(int)
    assert np.abs(left_over).max() <= 2


def test_where_hardly_any_content_is_the_same_nothing_is_known_about_a_shift() -> None:
    original, mask = gradient(200, 200), SHAPES["left half"]
    generated = (original + 8).astype(np.uint8)
    other = np.random.default_rng(0).random((200, 200)) < 0.95
    generated[other] = 255 - generated[other] // 4
    change = blend(original, generated, mask)[:, :100].astype(int) - generated[:, :100]
    assert np.abs(change).max() <= 1


@pytest.mark.parametrize("shape", [*SHAPES, "soft"])
def test_far_from_kept_pixels_nothing_is_changed(shape: str) -> None:
    soft = np.array([[0] * 20 + [120] * 80 + [255] * 100], np.uint8).repeat(200, axis=0)
    original, mask = gradient(200, 200), {**SHAPES, "soft": soft}[shape]
    generated = (original + 8).astype(np.uint8)
    blended = blend(original, generated, mask)
    far = (ndimage.distance_transform_edt(mask) > CORRECTED) & (mask == 255)
    assert (blended[far] == generated[far]).all()


def test_an_empty_mask_keeps_everything_and_a_full_one_replaces_everything() -> None:
    original = gradient(60, 90)
    generated = (original + 5).astype(np.uint8)
    assert (blend(original, generated, np.zeros((60, 90), np.uint8)) == original).all()
    assert (blend(original, generated, np.full((60, 90), 255, np.uint8)) == generated).all()


@pytest.mark.parametrize("shift", [60, -60, 5])
def test_soft_edges_lie_between_the_two_in_order(shift: int) -> None:
    original = np.full((20, 256, 3), 120, np.uint8)
    generated = (original.astype(int) + shift).astype(np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(20, axis=0)
    blended = blend(original, generated, ramp)
    steps = np.diff(blended, axis=1) * np.sign(shift)
    assert (steps >= 0).all()
    assert (blended[:, 0] == 120).all()
    assert (blended[:, -1] == 120 + shift).all()
    if abs(shift) == 60:
        linear = 120 + shift * np.arange(256)[None, :, None] / 255
        assert np.abs(blended - linear).max() <= 0.5 + 1e-6


def test_large_pictures_are_worked_on_in_parts_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Image.fromarray(gradient(700, 60))
    generated = original.point(lambda level: level + 5)
    mask = Image.new("L", original.size)
    mask.paste(255, (20, 10, 45, 690))

    def made() -> tuple[bytes, bytes]:
        return match_border(original, generated, mask).tobytes(), with_seam(mask, 9).tobytes()

    in_parts = made()
    monkeypatch.setattr(blending, "_ROWS", 1000)
    monkeypatch.setattr(masks, "_SQUARE", 16)
    assert made() == in_parts
