"""The named modules of a model: what is placed, compiled and called one by one."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline

from sd_api.models.model_sizes import AUTOENCODERS, DENOISERS

Value = TypeVar("Value")

# Of each kind. A conditioning has about 0.3 MB for Stable Diffusion 1 and 0.6 MB for SDXL, and the latents of an image
# of 1024 x 1024 pixels 0.5 MB.
CACHED = 64

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
    """

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        self.name = name
        self.module = module
        self.call: Callable[..., Any] = module
        self.size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        self.working = WORKING_MEMORY

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self.call(*args, **kwargs)

    @property
    def config(self) -> Any:
        """The module's configuration."""
        return self.module.config

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which it computes, whichever its weights are stored in."""
        own: torch.dtype | None = getattr(self.module, "dtype", None)
        return own or next(self.module.parameters()).dtype


class Parts:
    """A model's components with what they need around them.

    Attributes:
        pipeline: The diffusers pipeline that the model was loaded as: tokenizers, configuration, prompt encoding.
        device: Where the components run.
        place: Has components on the device; to be called before they run. Those of one call are there together.
        components: Every module by its name.
        tile: The side of the autoencoder's tiles in pixels, for pictures that are larger; 0 if it decodes at once.
    """

    def __init__(
        self, pipeline: DiffusionPipeline, device: torch.device, place: Callable[[Iterable[Component]], None]
    ) -> None:
        self.pipeline: Any = pipeline
        self.device = device
        self.place = place
        self.tile = 0
        self.components: Mapping[str, Component] = {
            name: Component(name, module)
            for name, module in pipeline.components.items()
            if isinstance(module, torch.nn.Module)
        }
        self._cached: dict[str, OrderedDict[Hashable, Any]] = {}

    @property
    def denoiser(self) -> Component:
        """The network that predicts noise."""
        return self._first(DENOISERS)

    @property
    def autoencoder(self) -> Component:
        """The network between pixels and latents."""
        return self._first(AUTOENCODERS)

    @property
    def text_encoders(self) -> tuple[Component, ...]:
        """The networks that read prompts."""
        return tuple(part for name, part in self.components.items() if name.startswith("text_encoder"))

    @property
    def size(self) -> int:
        """The bytes of all weights."""
        return sum(part.size for part in self.components.values())

    def cached(self, kind: str, key: Hashable, make: Callable[[], Value]) -> Value:
        """What belongs to a key, made once while the cache of its kind holds it; what raises is not kept."""
        kept = self._cached.setdefault(kind, OrderedDict())
        if key not in kept:
            kept[key] = make()
            if len(kept) > CACHED:
                kept.popitem(last=False)
        kept.move_to_end(key)
        value: Value = kept[key]
        return value

    def _first(self, names: tuple[str, ...]) -> Component:
        found = next((self.components[name] for name in names if name in self.components), None)
        # Where an architecture has a name of its own for it, the largest: nothing but its memory is asked for.
        return found or max(self.components.values(), key=lambda part: part.size)
