"""The LoRAs of one model (arXiv:2106.09685), which act for the rows that ask for them.

The model itself is never changed: they are in copies of its modules that share its weights. A denoiser runs them in its
weights, in copies of its own, where there is memory for these.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.models.adapters.active_loras import ActiveLora, FoundLora
from sd_api.models.adapters.adapter_cache import AdapterCache, UnfitError, denoiser_of, reason_of
from sd_api.models.adapters.hub_loras import HubLoras
from sd_api.models.adapters.loading_bound import LoadingBound
from sd_api.models.adapters.lora_files import architecture_of, find_lora, read_header
from sd_api.models.adapters.lora_hosts import LoraHosts
from sd_api.models.adapters.lora_reading import tensors_for
from sd_api.models.adapters.merged import MergedDenoisers, place_together
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.component import Component
from sd_api.models.folders import LORA, FoundFile, ModelFolders, missing
from sd_api.models.memory import is_out_of_memory
from sd_api.models.sharing import follow
from sd_api.models.state_dict import WeightFile
from sd_api.prompting.prompt import Lora

log = logging.getLogger(__name__)

# What people call the networks.
_SHOWN = {"unet": "UNet", "transformer": "transformer"}


@dataclass(frozen=True, eq=False)
class _Layers:
    """The layers of one file.

    Attributes:
        adapter: What PEFT calls them.
        parts: Those of each component that has any, as a component that is placed beside it.
    """

    adapter: str
    parts: Mapping[str, Component]


class LoraLayers:
    """The LoRAs of one model.

    Not for several threads at once: it belongs to the engine's thread.

    Attributes:
        merged: The copies of the denoiser that have some of them in their weights.

    Args:
        pipeline: The model.
        components: Its modules.
        device: Where they run.
        place: Has components on the device.
        forget: Drops components that are not used any more.
        folders: Where the files are.
        hub: Where further ones are; None where none may be downloaded.
    """

    def __init__(
        self,
        pipeline: Any,
        components: Mapping[str, Component],
        device: torch.device,
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None],
        folders: ModelFolders,
        hub: HubLoras | None,
    ) -> None:
        self._components = components
        self._place = place
        self._forget = forget
        self._folders = folders
        self._hub = hub
        self._hosts = LoraHosts(pipeline, components, device)
        self._count = 0
        self._cache = AdapterCache(components, self._load, lambda layers: layers.parts.values(), forget, self._remove)
        self.merged = MergedDenoisers(components, place, forget)

    @property
    def components(self) -> tuple[Component, ...]:
        """The layers of all LoRAs that are loaded, and weights with them; may be called from any thread."""
        return *self._cache.components, *self.merged.components

    def find(self, asked: Mapping[str, Sequence[Lora]]) -> tuple[FoundLora, ...]:
        """What a request asks for, loaded.

        Args:
            asked: By the names of the request's fields.

        Raises:
            OutOfLimits: There is no such LoRA, its file is damaged, or it was made for another architecture.
        """
        found: list[FoundLora] = []
        for field, lora in ((field, lora) for field, several in asked.items() for lora in several):
            try:
                file = self._file(lora.name)
                self._layers(file, [each.file for each in found])
            except UnfitError as error:
                raise OutOfLimits(field, f"names the LoRA {lora.name[:100]!r}{error}") from None
            found.append(FoundLora(file, lora))
        return tuple(found)

    def of_texts(self, loras: Sequence[ActiveLora]) -> tuple[ActiveLora, ...]:
        """Those that change how prompts are read."""
        files = [lora.file for lora in loras]
        parts = {file: self._layers(file, files).parts for file in files}
        return tuple(
            lora for lora in loras if lora.text_weight and any(name != self._denoiser.name for name in parts[lora.file])
        )

    def applied(self, component: Component, loras: Sequence[ActiveLora], beside: Iterable[Component] = ()) -> Any:
        """What runs in place of a component, on the device, with some LoRAs.

        It is to be called before the next one is asked for: it may be the same copy, and only what acts in it differs.

        Args:
            component: A module of the model.
            loras: What acts in it.
            beside: What else is to be on the device meanwhile.
        """
        beside, files, layers = list(beside), [lora.file for lora in loras], []
        active: dict[str, float] = {}
        for lora in loras:
            loaded = self._layers(lora.file, files)
            weight = lora.weight if component is self._denoiser else lora.text_weight
            if weight and component.name in loaded.parts:
                active[loaded.adapter] = weight
                layers.append(loaded.parts[component.name])
        if not active:
            self._place([*beside, component])
            return component
        acting = tuple(active.items())
        self._place([*beside, component])
        if component.streamed:
            return self._streamed(component, active)
        # Prompts are read once, which takes less time than to merge.
        merges = component is self._denoiser
        found = self.merged.placed(acting, beside) if merges else None
        if found is None:
            place_together(self._place, component, beside, layers)
            found = self._hosts.activated(component.name, active)
            if merges:
                found = self.merged.make(found, acting, beside) or found
        follow(found, component.device)
        return found

    def _streamed(self, component: Component, active: Mapping[str, float]) -> Any:
        host = self._hosts.activated(component.name, active)
        if self._hosts.stream(component):
            # What was on the device is not any more, and copies have weights that stay there.
            self._forget(self._cache.components)
            self.merged.clear()
        return host

    def _file(self, name: str) -> FoundFile:
        file = find_lora(self._folders, name)
        try:
            if file is None and self._hub is not None:
                file = self._hub.find(name)
        except ModelUnavailable as error:
            raise UnfitError(f"{missing(self._folders, LORA)}; {error.message}") from None
        if file is None:
            raise UnfitError(missing(self._folders, LORA))
        return file

    def _layers(self, file: FoundFile, beside: Collection[FoundFile]) -> _Layers:
        if not self._hosts.are_current:
            self._forget_all()
        return self._cache.get(file, beside)

    def _load(self, file: FoundFile) -> _Layers:
        self._refuse_other_model(file)
        host = self._hosts.opened()
        self._count += 1
        adapter = f"lora_{self._count}"
        dtype = self._denoiser.dtype
        weight_file = WeightFile(file.path)
        found = weight_file.tensors()
        log.info("Loading the LoRA %s", file.name)
        try:
            tensors, claimed = tensors_for(
                found, weight_file.header.metadata, host, self._denoiser.name, 2 * self._hosts.numbers
            )
            weights = {
                name: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
                for name, tensor in tensors.items()
            }
            with LoadingBound(sum(tensor.numel() for tensor in weights.values())):
                host.load_lora_weights(weights, adapter_name=adapter)
            parts = self._hosts.parts(adapter, file.name)
            if (there := self._hosts.count_layers(adapter)) != claimed:
                raise ValueError(f"this model has {there:,} of the {claimed:,} layers that it changes")
        except Exception as error:
            # What is loaded by half must not act later; the others are loaded again when they are asked for.
            self._forget_all()
            if is_out_of_memory(error):
                raise
            log.warning("The LoRA %s cannot be loaded", file.path, exc_info=True)
            raise UnfitError(f", which this model cannot use: {reason_of(error)}") from None
        if not parts:
            raise UnfitError(", which has no layers for this model")
        return _Layers(adapter, parts)

    def _refuse_other_model(self, file: FoundFile) -> None:
        try:
            header = read_header(file)
        except FileFaultError as fault:
            problem = str(fault).removeprefix(f"{file.path}: ")
            raise UnfitError(f", whose file cannot be used: {problem}") from None
        if header.denoiser not in (None, self._denoiser.name):
            made_for = header.architecture or f"a model with a {_SHOWN[header.denoiser]}"
            raise UnfitError(f", which was made for {made_for}; this model has a {_SHOWN[self._denoiser.name]}")
        own = self._denoiser.config.get("cross_attention_dim") if self._denoiser.name == "unet" else None
        if own is not None and header.width is not None and header.width != own:
            made_for = architecture_of(header.width)
            raise UnfitError(f", which was made for {made_for}; this model is {architecture_of(own)}")
        # The time that the libraries take grows with the square of the layers.
        most = self._hosts.layers
        if header.layers > most:
            raise UnfitError(f", which changes {header.layers:,} layers; this model has {most:,}")

    @property
    def _denoiser(self) -> Component:
        return denoiser_of(self._components)

    def _remove(self, layers: _Layers) -> None:
        self.merged.clear()
        self._hosts.remove(layers.adapter, layers.parts)

    def _forget_all(self) -> None:
        self._cache.clear()
        self.merged.clear()
        self._hosts.clear()
