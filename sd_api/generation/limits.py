"""Refuses what is too large, too long or out of range, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sd_api.errors import OutOfLimits
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.settings import Limits

if TYPE_CHECKING:
    from sd_api.generation.request import GenerationRequest

# JSON numbers are exact up to here in every client, so a reported seed can be posted again.
MAX_SEED = 2**53 - 1

# Beyond this every pixel is saturated; it also keeps half-precision arithmetic finite.
MAX_GUIDANCE_SCALE = 100.0

# One latent cell is 8 pixels wide and the UNet halves its input three times.
MIN_SIDE = 64


def check_limits(request: GenerationRequest, limits: Limits) -> None:
    """Raise OutOfLimits for the first value of ``request`` that lies outside ``limits``."""
    _check_length("prompt", request.prompt, limits.max_prompt_length)
    _check_length("negative_prompt", request.negative_prompt, limits.max_prompt_length)
    check_num_outputs(len(request.seeds), limits)
    allowed = ranges(limits)
    _check_range("seed", min(request.seeds), *allowed["seed"])
    _check_range("seed + num_outputs - 1", max(request.seeds), *allowed["seed"])
    for field in ("num_inference_steps", "guidance_scale", "eta"):
        _check_range(field, getattr(request, field), *allowed[field])
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise OutOfLimits("scheduler", f"is {request.scheduler[:40]!r}; valid are {', '.join(SCHEDULERS)}")
    if request.init_image is None:
        _check_range("width", request.width, *allowed["width"])
        _check_range("height", request.height, *allowed["height"])
    else:
        _check_image_size(request.init_image.size, limits)
        _check_range("strength", request.strength, *allowed["strength"])
        _check_steps_remain(request.strength, request.num_inference_steps)


def ranges(limits: Limits) -> Mapping[str, tuple[float, float]]:
    """The lowest and the highest value that each number of a request may have."""
    return {
        "seed": (0, MAX_SEED),
        "num_outputs": (1, limits.max_num_outputs),
        "num_inference_steps": (1, limits.max_num_inference_steps),
        "guidance_scale": (0, MAX_GUIDANCE_SCALE),
        "eta": (0, 1),
        "width": (MIN_SIDE, limits.max_width),
        "height": (MIN_SIDE, limits.max_height),
        "strength": (0, 1),
    }


def check_num_outputs(count: int, limits: Limits) -> None:
    """Raise OutOfLimits unless ``count`` pictures may be asked for; for who has yet to choose their seeds."""
    _check_range("num_outputs", count, *ranges(limits)["num_outputs"])


def _check_length(field: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise OutOfLimits(field, f"has {len(text)} characters; at most {longest} are allowed")


def _check_range(field: str, value: float, lowest: float, highest: float) -> None:
    # Written so that nan, which compares false with everything, is refused.
    if not lowest <= value <= highest:
        raise OutOfLimits(field, f"is {_shown(value)}; it must be from {_shown(lowest)} to {_shown(highest)}")


def _shown(value: float) -> str:
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 20 else f"{text[:20]}…"


def _check_image_size(size: tuple[int, int], limits: Limits) -> None:
    # Its pixels have been counted before, but a line of few pixels would be padded to a great many.
    if size[0] > limits.max_width or size[1] > limits.max_height:
        raise OutOfLimits(
            "init_image", f"is {size[0]}×{size[1]} pixels; at most {limits.max_width}×{limits.max_height} are allowed"
        )


def _check_steps_remain(strength: float, num_inference_steps: int) -> None:
    if int(num_inference_steps * strength) < 1:
        raise OutOfLimits(
            "strength",
            f"is {strength:g}: with num_inference_steps {num_inference_steps} that leaves no step to run; "
            f"use at least {math.ceil(1000 / num_inference_steps) / 1000:g}, or more steps",
        )
