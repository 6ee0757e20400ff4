"""A variation mixes the noise of a second seed into that of the first one."""

from typing import Any

import pytest
import torch
from tiny_families import parts_of, sd, sdxl

from sd_api.engine.diffusion import denoise, step
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families.base import Row
from sd_api.models.families.noise import draw, slerp
from sd_api.models.families.registry import family_of
from sd_api.settings import Limits

LIMITS = Limits()
SEED, OTHER = 5, 8


@pytest.fixture(scope="module", params=[sd, sdxl])
def parts(request: pytest.FixtureRequest) -> Parts:
    return parts_of(request.param())


def begun(parts: Parts, strength: float, seed: int = SEED, variation: int | None = OTHER) -> Row:
    """A row whose scheduler draws nothing of its own, so that all randomness is in its first noise."""
    family = family_of(parts.pipeline)
    asked = TextToImage(
        prompt="a dog",
        steps=3,
        guidance=4.0,
        scheduler="euler",
        width=64,
        height=64,
        variation_strength=strength,
        limits=LIMITS,
    )
    with torch.inference_mode():
        conditioning = family.encode(parts, asked)
        return family.start(parts, asked, PictureSeeds(seed=seed, variation=variation), (64, 64), conditioning)


def made(parts: Parts, row: Row) -> torch.Tensor:
    latents = denoise(family_of(parts.pipeline), parts, row).latents
    assert latents is not None
    return latents


def plain(parts: Parts, seed: int) -> torch.Tensor:
    return made(parts, begun(parts, 0.0, seed, None))


def off(latents: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((latents - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("strength", "seed"), [(0.0, SEED), (1.0, OTHER)])
def test_the_ends_are_the_pictures_of_the_two_seeds(parts: Parts, strength: float, seed: int) -> None:
    assert off(made(parts, begun(parts, strength)), plain(parts, seed)) < 1e-5


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_between_them_lies_an_arc_of_the_same_norm(parts: Parts, strength: float) -> None:
    noise: dict[int, Any] = {seed: begun(parts, 0.0, seed, None).latents for seed in (SEED, OTHER)}
    mixed: Any = begun(parts, strength).latents
    low, high = sorted(float(latents.norm()) for latents in noise.values())
    assert 0.99 * low < float(mixed.norm()) < 1.01 * high

    def angle(one: torch.Tensor, other: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).arccos())

    # On the way, and as far along it as the strength says; their norms differ by a few percent.
    whole = angle(noise[SEED], noise[OTHER])
    assert angle(noise[SEED], mixed) == pytest.approx(strength * whole, rel=0.05)
    assert angle(noise[SEED], mixed) + angle(mixed, noise[OTHER]) == pytest.approx(whole, rel=1e-3)
    picture = made(parts, begun(parts, strength))
    assert all(off(picture, plain(parts, seed)) > 0.01 for seed in (SEED, OTHER))


def test_variations_in_a_batch_are_as_alone(parts: Parts) -> None:
    asked: list[tuple[float, int, int | None]] = [(0.3, SEED, 8), (0.3, SEED, 9), (0.7, 6, 8), (0.0, SEED, None)]
    rows = [begun(parts, *one) for one in asked]
    assert len({row.key for row in rows}) == 1
    while not all(row.done for row in rows):
        assert not step(family_of(parts.pipeline), parts, rows)
    for one, row in zip(asked, rows, strict=True):
        assert row.latents is not None
        assert off(row.latents, made(parts, begun(parts, *one))) < 1e-4
    pictures = [row.latents for row in rows]
    assert all(off(a, b) > 0.01 for a in pictures for b in pictures if a is not b)  # type: ignore[arg-type]


def test_the_path_is_a_great_circle() -> None:
    generator = torch.Generator("cpu").manual_seed(0)
    one, other = (draw((1, 4, 8, 8), generator) for _ in range(2))
    one, other = one / one.norm(), other / other.norm()
    for share in (0.0, 0.25, 0.5, 1.0):
        assert float(slerp(one, other, share).norm()) == pytest.approx(1.0, abs=1e-5)
    halfway = (one + other) / (one + other).norm()
    assert torch.allclose(slerp(one, other, 0.5), halfway, atol=1e-6)
    assert torch.allclose(slerp(one, one, 0.3), one, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_opposite_noises_give_numbers(share: float) -> None:
    one = draw((1, 4, 8, 8), torch.Generator("cpu").manual_seed(0))
    assert slerp(one, -one, share).isfinite().all()
