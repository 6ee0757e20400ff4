from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from sd_api.imaging.grain import Grain, missing_grain, with_grain

Levels = npt.NDArray[np.float64]

SIZE = 384
HOLE = (100, 90, 300, 310)


def scene() -> Levels:
    """A smooth photograph's levels with an edge in it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    levels = np.stack([90 + x / 6, 120 + 40 * np.sin(y / 70), 150 - (x + y) / 12], axis=2)
    levels[:, 340:] -= 60
    return levels


def noise(deviation: float, blur: float = 0.0, channels: int = 3, seed: int = 3) -> Levels:
    """What a sensor adds; blurred as by a camera's own development."""
    levels: Any = np.random.default_rng(seed).standard_normal((SIZE, SIZE, channels))
    levels = ndimage.gaussian_filter(levels, (blur, blur, 0)) if blur else levels
    return np.broadcast_to(levels / levels.std() * deviation, (SIZE, SIZE, 3))


def image(levels: Levels) -> Image.Image:
    return Image.fromarray(np.rint(levels).clip(0, 255).astype(np.uint8))


def missing(original: Levels, generated: Levels, hole: tuple[int, int, int, int] = HOLE) -> Grain | None:
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, hole)
    return missing_grain(image(original).crop, image(generated), mask.crop)


def beside(levels: npt.NDArray[Any]) -> float:
    """How much pixels are like those at their right."""
    return float((levels[:, 1:] * levels[:, :-1]).mean() / (levels**2).mean())


@pytest.mark.parametrize("deviation", [2.0, 6.0])
@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_grain_is_as_strong_and_as_fine_as_the_canvas_has_it(deviation: float, blur: float) -> None:
    own = noise(deviation, blur)
    grain = missing(scene() + own, scene())
    assert grain is not None
    # Rather too little: coarse grain passes for a shape.
    assert grain.std() == pytest.approx(deviation, rel=0.15)
    assert beside(grain) == pytest.approx(beside(own), abs=0.12)


@pytest.mark.parametrize(("channels", "alike"), [(1, 1.0), (3, 0.0)])
def test_grain_has_the_colours_of_the_canvas(channels: int, alike: float) -> None:
    grain = missing(scene() + noise(5, channels=channels), scene())
    assert grain is not None
    correlation: Any = np.corrcoef(grain.reshape(-1, 3).T)
    assert correlation[0, 1] == pytest.approx(alike, abs=0.12)


def test_only_what_the_drawing_lacks_is_added() -> None:
    grain = missing(scene() + noise(5), scene() + noise(3, seed=4))
    assert grain is not None
    assert grain.std() == pytest.approx(4, rel=0.12)
    assert missing(scene() + noise(3), scene() + noise(5, seed=4)) is None


@pytest.mark.parametrize("hole", [(101, 20, 113, 200), (7, 7, 9, 9)])
def test_a_thin_mask_has_the_grain_that_the_model_leaves_elsewhere(hole: tuple[int, int, int, int]) -> None:
    noisy = scene() + noise(5)
    assert missing(noisy, noisy, hole) is None
    grain = missing(noisy, scene(), hole)
    assert grain is not None
    assert grain.std() == pytest.approx(5, rel=0.12)


def lettered() -> Levels:
    """Text, as in a drawing by a program: the ground is even."""
    levels = np.full((SIZE, SIZE, 3), 200.0)
    levels[::7, ::5] = 20
    levels[: SIZE // 2] = 200
    return levels


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(scene, id="nothing there"),
        pytest.param(lettered, id="text on an even ground"),
        pytest.param(lambda: scene() + noise(25, 1.2), id="a texture"),
        pytest.param(lambda: np.full((SIZE, SIZE, 3), 255.0) - np.abs(noise(5)), id="cut off"),
    ],
)
def test_other_pictures_get_none(original: Callable[[], Levels]) -> None:
    assert missing(original(), scene()) is None


@pytest.mark.parametrize("hole", [(0, 0, SIZE, SIZE), (5, 5, SIZE - 5, SIZE - 5)])
def test_where_too_little_is_kept_nothing_is_guessed(hole: tuple[int, int, int, int]) -> None:
    assert missing(scene() + noise(5), scene(), hole) is None


def test_parts_of_a_canvas_have_the_grain_of_the_whole() -> None:
    grain = missing(scene() + noise(5), scene())
    whole = with_grain(image(scene()), grain, 0, 0)
    for box in ((0, 0, 20, 30), (250, 250, 384, 384), (13, 200, 300, 261)):
        part = with_grain(image(scene()).crop(box), grain, *box[:2])
        assert part.tobytes() == whole.crop(box).tobytes()
    assert np.asarray(whole, float).mean() == pytest.approx(scene().mean(), abs=0.3)


def test_an_image_without_grain_stays_the_same() -> None:
    picture = image(scene())
    assert with_grain(picture, None, 3, 4) is picture
