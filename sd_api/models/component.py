"""One module of a model: what is placed, compiled and called by itself."""

from collections.abc import Callable
from typing import Any

import torch


class Component:
    """One module of a model. Calling it runs the module, or what a backend has put in place of it.

    Attributes:
        name: Its name in the pipeline, such as ``unet``.
        module: The module; a backend may exchange it for an equal one.
        call: What a call runs; the module itself unless a backend has replaced it.
        size: The bytes of its weights.
    """

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        self.name = name
        self.module = module
        self.call: Callable[..., Any] = module
        self.size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self.call(*args, **kwargs)

    @property
    def config(self) -> Any:
        """The module's configuration."""
        return self.module.config

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its weights."""
        return next(self.module.parameters()).dtype
