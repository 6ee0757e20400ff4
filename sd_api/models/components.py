"""The named modules of a model: what is placed, compiled and called one by one."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from diffusers import DiffusionPipeline

from sd_api.models.adapters.active_loras import ActiveLora
from sd_api.models.adapters.active_references import ActiveReference
from sd_api.models.adapters.autoencoders import Autoencoders
from sd_api.models.adapters.controls import ControlNets
from sd_api.models.adapters.embeddings import Embeddings
from sd_api.models.adapters.hub_loras import HubLoras
from sd_api.models.adapters.ip_adapters import IPAdapters
from sd_api.models.adapters.loras import LoraLayers
from sd_api.models.component import Component
from sd_api.models.folders import FoundFile, ModelFolders
from sd_api.models.model_sizes import AUTOENCODERS, DENOISERS
from sd_api.models.sharing import pipeline_of

# Of each kind. A chunk of a prompt takes about 0.2 MB for Stable Diffusion 1, 0.3 MB for SDXL, and a prompt may have
# some fifty; the latents of an image of 1024 x 1024 pixels take 0.5 MB.
CACHED_BYTES = 32 * 2**20


class Cached(Protocol):
    """What is made of a prompt or an image, and cached."""

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""


Value = TypeVar("Value", bound=Cached)


class Parts:
    """A model's components with what they need around them.

    Attributes:
        pipeline: The diffusers pipeline that the model was loaded as: tokenizers, configuration, prompt encoding.
        device: Where the components run.
        place: Has components on the device; to be called before they run. Those of one call are there together.
        components: Every module by its name.
        loras: The layers beside them.
        ip_adapters: What sees references where the model does not by itself.
        embeddings: The words that were trained, for models with a UNet.
        controls: The ControlNets and T2I adapters beside them.
        folders: Where files are that a request may name.
        vae_file: The file of an autoencoder that stands in place of the model's own; None where that is used.
        tile: The side of the autoencoder's tiles in pixels, for pictures that are larger; 0 if it decodes at once.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        device: torch.device,
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None] = lambda _: None,
        folders: ModelFolders | None = None,
        hub: HubLoras | None = None,
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
        self.folders = folders = folders or ModelFolders()
        self.loras = LoraLayers(pipeline, self.components, device, place, forget, folders, hub)
        widths = {
            part.name: int(part.config.hidden_size)
            for part in self.text_encoders
            if hasattr(part.config, "hidden_size")
        }
        self.embeddings = Embeddings(widths, folders)
        self.controls = ControlNets(self.components, place, forget, folders)
        self.vae_file: FoundFile | None = None
        self._autoencoders = Autoencoders(self.autoencoder, device, forget, folders)
        self._cached: dict[str, OrderedDict[Hashable, Any]] = {}
        self.ip_adapters = IPAdapters(self.components, device, place, forget, folders, self.cached)

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
    def everything(self) -> tuple[Component, ...]:
        """What may be on the device: the components, and what is loaded beside them."""
        return (
            *self.components.values(),
            *self.loras.components,
            *self.controls.components,
            *self.ip_adapters.components,
            *self._autoencoders.components,
        )

    def with_vae(self, name: str | None) -> "Parts":
        """The same model with another autoencoder; itself where none is named.

        Raises:
            OutOfLimits: There is none of that name, or the model cannot use it.
        """
        if name is None:
            return self
        # All else is shared with the model, caches included.
        other = copy.copy(self)
        other.vae_file, vae = self._autoencoders.named(name)
        other.components = {**self.components, self.autoencoder.name: vae}
        return other

    def adapted(self, loras: Sequence[ActiveLora], references: Sequence[ActiveReference]) -> Any:
        """What runs in place of the denoiser, on the device, with LoRAs and with attention to references."""
        return self.ip_adapters.applied(
            lambda beside: self.loras.applied(self.denoiser, loras, beside), references, tuple(loras)
        )

    def reading(self, loras: Sequence[ActiveLora]) -> "Parts":
        """The same model with LoRAs in its text encoders, which are on the device; itself where none act there."""
        if not loras:
            return self
        other = copy.copy(self)
        encoders = self.text_encoders
        changed = {part.name: self.loras.applied(part, loras, beside=encoders) for part in encoders}
        modules = {name: each.module if isinstance(each, Component) else each for name, each in changed.items()}
        other.pipeline = pipeline_of(type(self.pipeline), self.pipeline, **modules)
        return other

    @property
    def size(self) -> int:
        """The bytes of all weights."""
        return sum(part.size for part in self.everything)

    def cached(self, kind: str, key: Hashable, make: Callable[[], Value]) -> Value:
        """What belongs to a key, made once while the cache of its kind holds it; what raises is not kept."""
        kept = self._cached.setdefault(kind, OrderedDict())
        if key not in kept:
            kept[key] = make()
            while len(kept) > 1 and sum(value.nbytes for value in kept.values()) > CACHED_BYTES:
                kept.popitem(last=False)
        kept.move_to_end(key)
        value: Value = kept[key]
        return value

    def _first(self, names: tuple[str, ...]) -> Component:
        found = next((self.components[name] for name in names if name in self.components), None)
        # Where an architecture has a name of its own for it, the largest: nothing but its memory is asked for.
        return found or max(self.components.values(), key=lambda part: part.size)
