"""A seed means the same picture in every precision, alone and in a batch."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pictures import half_mask, photograph
from PIL import Image
from requested import request
from running import generate

from sd_api.generation.result import GeneratedImage
from sd_api.settings import Settings
from sd_api.wiring import build_engine

# 9 by 9 latents of 4 channels: 324 numbers, no multiple of 16.
SIDE = 72

MODES: dict[str, dict[str, Any]] = {
    "txt2img": {},
    "img2img": {"image": photograph(SIDE, SIDE), "strength": 0.8},
    "masking": {"image": photograph(SIDE, SIDE), "mask": half_mask(SIDE, SIDE), "strength": 0.8},
}


def make(engine: Any, seeds: tuple[int, ...], **fields: Any) -> tuple[GeneratedImage, ...]:
    images: tuple[GeneratedImage, ...] = generate(
        engine, request(steps=4, size=(SIDE, SIDE), seeds=seeds, **fields)
    ).images
    return images


def pixels(image: GeneratedImage) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(image.png)), np.int16)


@pytest.mark.parametrize("scheduler", ["plms", "euler-a"])
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_nearly_the_same_in_another_precision(
    make_settings: Callable[..., Settings], mode: str, scheduler: str
) -> None:
    made = []
    for dtype in ("fp32", "bf16"):
        settings = make_settings(dtype=dtype)
        made.append(pixels(*make(build_engine(settings), (5,), scheduler=scheduler, **MODES[mode])))
    # With other numbers in the last 16 places alone, the mean difference is above 20 levels.
    assert np.abs(made[0] - made[1]).mean() < 5


@pytest.mark.parametrize("scheduler", ["plms", "euler-a"])
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_the_same_alone_and_in_a_batch(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, mode: str, scheduler: str
) -> None:
    settings = make_settings()
    engine = build_engine(settings)
    alone = [make(engine, (seed,), scheduler=scheduler, **MODES[mode])[0] for seed in (5, 6, 7)]
    # As on a GPU, where all pictures are tried in one pass.
    monkeypatch.setattr(type(engine), "at_once", lambda self: 16)
    batch = make(engine, (5, 6, 7), scheduler=scheduler, **MODES[mode])
    for one, other in zip(alone, batch, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
    assert np.abs(pixels(alone[0]) - pixels(alone[1])).max() > 10
