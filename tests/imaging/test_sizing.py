import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd_api.imaging.sizing import crop, extended_part, highest_levels, pad, padded_size, resize_mask, whole_cells

SIDES = st.integers(1, 70)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((512, 512), (512, 512)), ((513, 505), (520, 512)), ((1, 64), (64, 64)), ((65, 3), (72, 64))],
)
def test_padded_size_is_the_next_multiple_above_the_minimum(size: tuple[int, int], padded: tuple[int, int]) -> None:
    assert padded_size(size, multiple=8, minimum=64) == padded


def test_padded_size_rounds_the_minimum_up_too() -> None:
    assert padded_size((1, 1), multiple=64, minimum=100) == (128, 128)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@given(width=SIDES, height=SIDES, right=st.integers(0, 30), lower=st.integers(0, 30))
def test_padding_repeats_the_edge_and_cropping_undoes_it(
    mode: str, width: int, height: int, right: int, lower: int
) -> None:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    padded = pad(image, (width + right, height + lower))
    assert (padded.mode, padded.size) == (mode, (width + right, height + lower))
    assert crop(padded, image.size).tobytes() == image.tobytes()
    pixels = np.asarray(padded)
    assert (pixels[:, width:] == pixels[:, width - 1 : width]).all()
    assert (pixels[height:] == pixels[height - 1 : height]).all()


def test_padding_and_cropping_keep_the_profile() -> None:
    image = Image.new("RGB", (5, 5))
    image.info["icc_profile"] = b"profile"
    assert crop(pad(image, (8, 8)), (5, 5)).info == {"icc_profile": b"profile"}


def test_padding_cannot_shrink() -> None:
    with pytest.raises(ValueError, match="negative"):
        pad(Image.new("L", (9, 9)), (8, 16))


@given(width=SIDES, height=SIDES, new_width=SIDES, new_height=SIDES, level=st.sampled_from([0, 255]))
def test_plain_masks_stay_plain_at_any_size(
    width: int, height: int, new_width: int, new_height: int, level: int
) -> None:
    resized = resize_mask(Image.new("L", (width, height), level), (new_width, new_height))
    assert resized.size == (new_width, new_height)
    assert resized.getextrema() == (level, level)


def test_a_mask_far_from_its_edges_keeps_black_and_white() -> None:
    mask = Image.new("L", (40, 40), 0)
    mask.paste(255, (20, 0, 40, 40))
    resized = np.asarray(resize_mask(mask, (300, 300)))
    assert (resized[:, :140] == 0).all()
    assert (resized[:, 160:] == 255).all()
    assert (np.diff(resized.astype(int), axis=1) >= 0).all()


def test_a_mask_of_the_right_size_is_unchanged() -> None:
    mask = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 21), np.uint8))
    assert resize_mask(mask, (21, 33)).tobytes() == mask.tobytes()


@given(cell=st.sampled_from([1, 2, 8, 16]), rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_cell_has_the_highest_of_its_levels(cell: int, rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.choice(np.array([0] * 200 + [1, 90, 255], np.uint8), (rows * cell, columns * cell))
    mask = Image.fromarray(pixels)
    levels, white = highest_levels(mask, cell), np.asarray(whole_cells(mask, cell))
    assert (levels.shape, white.shape) == ((rows, columns), pixels.shape)
    for row in range(rows):
        for column in range(columns):
            box = np.s_[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            assert levels[row, column] == pixels[box].max()
            assert (white[box] == (255 if pixels[box].any() else 0)).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 15, 11), (3, 2, 9, 6), (0, 0, 2, 1), (13, 9, 15, 11), (1, 4, 4, 11), (14, 0, 15, 3)]
)
def test_a_part_of_a_grown_canvas_is_cut_without_growing_it(box: tuple[int, int, int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)
    margins = (4, 2, 3, 3)
    expected = np.pad(pixels, [(2, 3), (4, 3), (0, 0)], mode="edge")[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(np.asarray(extended_part(Image.fromarray(pixels), margins, box)), expected)
    assert np.array_equal(extended_part(pixels, margins, box), expected)
