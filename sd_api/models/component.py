"""One module of a model: what is placed, compiled and called by itself."""

from collections.abc import Callable
from typing import Any

import torch

# Bytes that stay free for activations where no plan says how many: a batch of Stable Diffusion 1 at 512 x 512 in fp16.
WORKING_MEMORY = 2 * 2**30


class Component:
    """One module of a model. Calling it runs the module, or what a backend has put in place of it.

    Attributes:
        name: Its name in the pipeline, such as ``unet``.
        module: The module; a backend may exchange it for an equal one.
        call: What a call runs; the module itself unless a backend has replaced it.
        size: The bytes of its weights.
        working: The bytes that it needs beside its weights while it runs.
        streamed: Whether its layers come to the device one by one.
    """

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        self.name = name
        self.module = module
        self.call: Callable[..., Any] = module
        self.size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        self.working = WORKING_MEMORY
        self.streamed = False

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
        """The precision in which it computes, whichever its weights are stored in."""
        own: torch.dtype | None = getattr(self.module, "dtype", None)
        return own or next(self.module.parameters()).dtype
