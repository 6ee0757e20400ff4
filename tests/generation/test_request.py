"""The request's own limits, which hold for every dialect."""

import re
from typing import Any

import pytest
from PIL import Image

from sd_api.errors import OutOfLimits
from sd_api.generation.limits import MAX_SEED
from sd_api.generation.request import GenerationRequest
from sd_api.settings import Limits

LIMITS = Limits()
IMAGE = Image.new("RGB", (10, 20))
MASK = Image.new("L", (10, 20))


def request(**changes: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "prompt": "a dog",
        "seeds": (1, 2),
        "width": 512,
        "height": 512,
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "limits": LIMITS,
    }
    return GenerationRequest(**values | changes)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "txt2img"),
        ({"init_image": IMAGE}, "img2img"),
        ({"init_image": IMAGE, "mask_image": MASK}, "masking"),
    ],
)
def test_the_images_tell_the_mode(changes: dict[str, Any], mode: str) -> None:
    assert request(**changes).mode == mode


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": (0,)},
        {"seeds": (MAX_SEED,)},
        {"seeds": tuple(range(16))},
        {"width": 64, "height": 2048},
        {"num_inference_steps": 500},
        {"guidance_scale": 0.0},
        {"eta": 1.0},
        {"prompt": "x" * 4000},
        {"init_image": IMAGE, "strength": 1.0},
        {"init_image": IMAGE, "strength": 0.05},
        # The size of an answer to an image is the image's, whatever it is.
        {"init_image": IMAGE, "width": 10, "height": 20},
    ],
)
def test_what_lies_on_the_limit_is_allowed(changes: dict[str, Any]) -> None:
    assert request(**changes)


@pytest.mark.parametrize("steps", [3, 7, 49, 499, 500])
def test_the_strength_that_a_refusal_suggests_is_enough(steps: int) -> None:
    with pytest.raises(OutOfLimits) as refusal:
        request(init_image=IMAGE, strength=0.5 / steps, num_inference_steps=steps)
    found = re.search(r"use at least ([0-9.]+),", refusal.value.message)
    assert found is not None
    assert request(init_image=IMAGE, strength=float(found.group(1)), num_inference_steps=steps)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("seed", {"seeds": (-1,)}),
        ("seed", {"seeds": (MAX_SEED, MAX_SEED + 1)}),
        ("num_outputs", {"seeds": ()}),
        ("num_outputs", {"seeds": tuple(range(17))}),
        ("width", {"width": 63}),
        ("width", {"width": 2049}),
        ("height", {"height": -5}),
        ("num_inference_steps", {"num_inference_steps": 501}),
        ("guidance_scale", {"guidance_scale": float("nan")}),
        ("guidance_scale", {"guidance_scale": 101.0}),
        ("eta", {"eta": -0.1}),
        ("scheduler", {"scheduler": "PLMS"}),
        ("prompt", {"prompt": "x" * 4001}),
        ("negative_prompt", {"negative_prompt": "x" * 4001}),
        ("init_image", {"init_image": Image.new("RGB", (2049, 1))}),
        ("init_image", {"init_image": Image.new("RGB", (1, 60000))}),
        ("strength", {"init_image": IMAGE, "strength": 1.01}),
        ("strength", {"init_image": IMAGE, "strength": 0.04}),
        ("strength", {"init_image": IMAGE, "strength": float("nan")}),
    ],
)
def test_what_lies_beyond_is_refused_by_name(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(OutOfLimits, match=f"^{field}"):
        request(**changes)
