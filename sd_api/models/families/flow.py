"""The schedules of models that predict a flow: which noise levels, and how they are shifted for larger pictures."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch


def even_sigmas(steps: int) -> np.ndarray:
    """(steps,) noise levels from 1 down to 1 / steps, before they are shifted."""
    return np.linspace(1.0, 1 / steps, steps)


def linear_shift(config: Any, tokens: int, *, largest: int = 4096, highest: float = 1.15) -> float:
    """The shift for so many tokens of a picture, linear between two sizes (section 5.3.2 of arXiv:2403.03206).

    Args:
        config: Of the model's scheduler, which may name the two sizes and their shifts.
        tokens: Of the picture.
        largest: The larger of the two sizes where the scheduler does not name it.
        highest: Its shift.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", largest)
    shift_low, shift_high = config.get("base_shift", 0.5), config.get("max_shift", highest)
    # In diffusers' order, which the last bit depends on.
    slope = (shift_high - shift_low) / (high - low)
    shift: float = tokens * slope + (shift_low - slope * low)
    return shift


def set_timesteps(
    scheduler: Any, steps: int, device: torch.device, *, sigmas: Sequence[float] | None, shift: float | None
) -> None:
    """Have a scheduler make the timesteps of a run.

    Args:
        scheduler: Of the run.
        steps: Of a full schedule.
        device: Where the timesteps are needed.
        sigmas: Noise levels before they are shifted; None leaves them to the scheduler, as do solvers that have a
            schedule of their own.
        shift: The exponent of the shift, for schedulers whose shift depends on the picture; None for none.
    """
    known, options = signature(scheduler.set_timesteps).parameters, dict[str, Any]()
    if shift is not None and "mu" in known and scheduler.config.get("use_dynamic_shifting"):
        options["mu"] = shift
    if sigmas is not None and "sigmas" in known and not scheduler.config.get("use_flow_sigmas"):
        options["sigmas"] = sigmas
    else:
        options["num_inference_steps"] = steps
    scheduler.set_timesteps(device=device, **options)
