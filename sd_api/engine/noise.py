"""The same noise in every precision."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sd_api.models.device import HALF_PRECISIONS


def draw_in_full_precision(pipeline: Any) -> None:
    """Have a pipeline draw its noise in fp32, and round it to its own precision.

    torch does that by itself only for tensors with a multiple of 16 elements; of any other it draws the last
    16 anew, with other numbers in half precision, and a seed would mean another picture there.

    Args:
        pipeline: one that is used for this run alone, as its scheduler is: their methods are replaced.
    """
    # All that draws. The rest of a run is left alone, because the mode costs time with every call of torch.
    for owner, name in (
        (pipeline, "prepare_latents"),
        (pipeline, "prepare_mask_latents"),
        (pipeline.scheduler, "step"),
    ):
        if hasattr(owner, name):
            setattr(owner, name, _in_full_precision(getattr(owner, name)))


def _in_full_precision(method: Callable[..., Any]) -> Callable[..., Any]:
    # Diffusers looks at the signature of a scheduler's step, which "wraps" passes on.
    @wraps(method)
    def drawing(*args: Any, **kwargs: Any) -> Any:
        with _FullPrecisionNoise():
            return method(*args, **kwargs)

    return drawing


class _FullPrecisionNoise(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.randn and options.get("dtype") in HALF_PRECISIONS:
            return func(*args, **options | {"dtype": torch.float32}).to(options["dtype"])
        return func(*args, **options)
