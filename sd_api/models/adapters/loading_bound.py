"""Bounds the memory that the libraries take for the layers of a LoRA before they compare them with the model.

They make layers of the rank that a file claims and of the model's width, whatever the file has for them.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# New tensors have as many numbers as the file, once or twice; so many more are always allowed.
_TIMES = 4
_FURTHER_NUMBERS = 16 * 1024**2


class LoadingBound(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Ends, while it is entered, what makes new tensors of many more numbers than a file has.

    Args:
        numbers: Of the file.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = _TIMES * numbers + _FURTHER_NUMBERS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See the base class.

        Raises:
            ValueError: With what is wrong, for people.
        """
        made = func(*args, **(kwargs or {}))
        # What is computed from tensors has its memory by them.
        if isinstance(made, torch.Tensor) and not any(isinstance(value, torch.Tensor) for value in args):
            self._left -= made.numel()
            if self._left < 0:
                raise ValueError("its layers claim many times what the file has")
        return made
