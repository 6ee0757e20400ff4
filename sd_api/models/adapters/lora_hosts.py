"""Copies of a model's modules with the layers of its LoRAs beside the model's own weights.

diffusers loads LoRAs there as it does into a pipeline, and each call chooses which of them act.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from diffusers.utils.peft_utils import delete_adapter_layers, set_weights_and_activate_adapters

from sd_api.models.adapters.adapter_cache import denoiser_of
from sd_api.models.component import Component
from sd_api.models.sharing import pipeline_of, shared_copy
from sd_api.models.streaming import stream, unstream

# What PEFT calls the first factors of layers, and all of them.
_FIRST = (".lora_A", ".lora_embedding_A")
_FACTORS = (*_FIRST, ".lora_B", ".lora_embedding_B")


class LoraHosts:
    """The copies of one model's modules.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        pipeline: The model.
        components: Its modules.
        device: Where they run.
    """

    def __init__(self, pipeline: Any, components: Mapping[str, Component], device: torch.device) -> None:
        self._own = pipeline
        self._components = components
        self._device = device
        # A pipeline over the copies, and the modules that they are copies of.
        self._pipeline: Any = None
        self._copied_from: dict[str, torch.nn.Module] = {}
        # The copies whose layers are streamed to the device.
        self._streams: set[str] = set()
        # What acts in each copy, which takes a moment to set.
        self._acting: dict[str, dict[str, float]] = {}

    @property
    def are_current(self) -> bool:
        """Whether they are copies of the model's modules, of which a backend may have exchanged one."""
        return all(self._components[name].module is module for name, module in self._copied_from.items())

    @property
    def layers(self) -> int:
        """How many layers with weights LoRAs may change."""
        return sum(
            any(True for _ in each.parameters(recurse=False)) for own in self._modules() for each in own.modules()
        )

    @property
    def numbers(self) -> int:
        """How many there are in the weights that LoRAs may change."""
        return sum(weight.numel() for own in self._modules() for weight in own.parameters())

    def opened(self) -> Any:
        """The pipeline over the copies, for a LoRA to be loaded into it."""
        if self._pipeline is None:
            self._copied_from = {name: self._components[name].module for name in self._changed()}
            copies = {name: shared_copy(module) for name, module in self._copied_from.items()}
            self._pipeline = pipeline_of(type(self._own), self._own, **copies)
        for name in self._copied_from:
            # The hooks know the layers that were there.
            self._stop_streaming(name)
        # What is loaded begins to act.
        self._acting.clear()
        return self._pipeline

    def activated(self, name: str, active: Mapping[str, float]) -> Any:
        """The copy of a component, in which some LoRAs act.

        Args:
            name: Of the component.
            active: What PEFT calls the LoRAs, with their weights.
        """
        host = getattr(self._pipeline, name)
        if not self._components[name].streamed:
            self._stop_streaming(name)
        if self._acting.get(name) != active:
            self._acting.pop(name, None)
            set_weights_and_activate_adapters(host, list(active), list(active.values()))
            self._acting[name] = dict(active)
        return host

    def stream(self, component: Component) -> bool:
        """Have the layers of a component's copy come to the device as its own do; whether they did not yet."""
        if component.name in self._streams:
            return False
        pinned = next(component.module.parameters()).is_pinned()
        with torch.inference_mode(mode=False):
            stream(getattr(self._pipeline, component.name), self._device, pinned=pinned)
        self._streams.add(component.name)
        return True

    def parts(self, adapter: str, label: str) -> dict[str, Component]:
        """The layers of a LoRA by the components that have any, as what is placed.

        Args:
            adapter: What PEFT calls it.
            label: What people call it.
        """
        found: dict[str, Component] = {}
        for name in self._copied_from:
            if layers := [module[adapter] for _, module in self._layers(name, adapter)]:
                # PEFT stores them as the model's are, which may be fewer bits than what computes.
                dtype = self._components[name].dtype
                found[name] = Component(f"{name} of {label}", torch.nn.ModuleList(layers).to(dtype))
                # What they compute is small beside what the model does.
                found[name].working = 0
        return found

    def count_layers(self, adapter: str) -> int:
        """How many layers of the model a LoRA changes."""
        return sum(path.endswith(_FIRST) for name in self._copied_from for path, _ in self._layers(name, adapter))

    def remove(self, adapter: str, names: Iterable[str]) -> None:
        """Take a LoRA's layers out of the copies of some components."""
        self._acting.clear()
        for name in names:
            delete_adapter_layers(getattr(self._pipeline, name), adapter)

    def clear(self) -> None:
        """Drop all copies."""
        self._pipeline = None
        self._copied_from.clear()
        self._streams.clear()
        self._acting.clear()

    def _layers(self, name: str, adapter: str) -> Iterator[tuple[str, Any]]:
        """The modules in which PEFT has a LoRA's factors, by their paths."""
        for path, module in getattr(self._pipeline, name).named_modules():
            if path.endswith(_FACTORS) and adapter in module:
                yield path, module

    def _changed(self) -> list[str]:
        """The components that LoRAs change."""
        denoiser = denoiser_of(self._components).name
        return [name for name in self._components if name == denoiser or name.startswith("text_encoder")]

    def _modules(self) -> Iterable[torch.nn.Module]:
        return (self._components[name].module for name in self._changed())

    def _stop_streaming(self, name: str) -> None:
        if name in self._streams:
            self._streams.remove(name)
            unstream(getattr(self._pipeline, name))
