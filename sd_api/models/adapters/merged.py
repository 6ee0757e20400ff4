"""LoRAs in the weights of a denoiser, so that they cost nothing in a step: in copies, of which they change some layers.

All other weights are the model's own. PEFT computes the changed ones, as diffusers' ``fuse_lora`` has it do that, so
the pixels are the same.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from sd_api.errors import OutOfMemory
from sd_api.models.adapters.adapter_cache import denoiser_of
from sd_api.models.component import Component
from sd_api.models.memory import room_of
from sd_api.models.sharing import shared_copy

Acting = Sequence[tuple[str, float]]
"""What PEFT calls the LoRAs, in their order, with their weights."""


@dataclass(frozen=True, eq=False)
class _Merged:
    """A copy of the denoiser.

    Attributes:
        module: The copy.
        changed: The weights that are its own, as what is placed.
    """

    module: Any
    changed: Component


def place_together(
    place: Callable[[Iterable[Component]], None],
    component: Component,
    beside: Iterable[Component],
    parts: Sequence[Component],
) -> None:
    """Have a component on the device with what LoRAs need, and further components.

    Raises:
        OutOfMemory: The component is not there as a whole.
    """
    place([*beside, component, *parts])
    if component.device != parts[0].device:
        raise OutOfMemory("A LoRA needs the whole model on the device.")


class MergedDenoisers:
    """The copies of one model's denoiser; the least recently used leave when their own weights are larger than it.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        components: The model's modules.
        place: Has components on the device.
        forget: Drops components that are not used any more.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None],
    ) -> None:
        self._components = components
        self._place = place
        self._forget = forget
        self._made: OrderedDict[tuple[tuple[str, float], ...], _Merged] = OrderedDict()
        # After they have been given up, because pictures need the memory.
        self._paused = False

    @property
    def components(self) -> tuple[Component, ...]:
        """The weights of all copies; may be called from any thread."""
        return tuple(merged.changed for merged in list(self._made.values()))

    def placed(self, acting: Acting, beside: Sequence[Component]) -> Any:
        """The copy with some LoRAs on the device, together with further components; None if there is no such copy.

        Raises:
            OutOfMemory: The model itself is not there as a whole.
        """
        if (merged := self._made.get(tuple(acting))) is None:
            return None
        self._made.move_to_end(tuple(acting))
        place_together(self._place, denoiser_of(self._components), beside, [merged.changed])
        return merged.module

    def make(self, host: Any, acting: Acting, beside: Sequence[Component]) -> Any:
        """Make a copy on the device.

        Args:
            host: The denoiser with PEFT's layers, of which these act; it is not changed.
            acting: Which they are.
            beside: What else is on the device meanwhile.

        Returns:
            None where the weights cannot be changed, or there is too little free memory for them.
        """
        if self._paused:
            return None
        denoiser, names = denoiser_of(self._components), [name for name, _ in acting]
        layers = dict(_changed(host, names))
        size = sum(weight.nbytes for layer in layers.values() for weight in layer.get_base_layer().parameters())
        # Which is looked for in all of the module.
        dtype = denoiser.dtype
        if not all(_is_plain(layer.get_base_layer(), dtype) for layer in layers.values()):
            return None
        while self._made and sum(part.size for part in self.components) + size > denoiser.size:
            self._drop(next(iter(self._made)))
        if room_of(denoiser.device) < size + denoiser.working:
            return None
        weights = torch.nn.ParameterList()
        changed = Component(f"{denoiser.name} with LoRAs", weights)
        changed.size, changed.working = size, 0
        # Before the weights are there, so that they are not counted twice.
        self._place([*beside, denoiser, changed])
        # Weights that are made in inference mode could never be moved outside of it.
        with torch.inference_mode(mode=False), torch.no_grad():
            module = shared_copy(denoiser.module)
            for path, layer in layers.items():
                weights.extend(_merge(layer, module.get_submodule(path), names))
        self._made[tuple(acting)] = _Merged(module, changed)
        return module

    def give_up(self) -> bool:
        """Drop all copies and make none until ``resume``; whether there were any."""
        if not self._made:
            return False
        self._paused = True
        self.clear()
        return True

    def resume(self) -> None:
        """Make copies again."""
        self._paused = False

    def clear(self) -> None:
        """Drop all copies."""
        for acting in list(self._made):
            self._drop(acting)

    def _drop(self, acting: tuple[tuple[str, float], ...]) -> None:
        self._forget([self._made.pop(acting).changed])


def _changed(host: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The layers of PEFT in which LoRAs act, by their names."""
    for path, layer in host.named_modules():
        if isinstance(layer, LoraLayer) and any(name in layer.lora_A for name in names):
            yield path, layer


def _is_plain(layer: torch.nn.Module, dtype: torch.dtype) -> bool:
    """Whether a layer computes with its weights as they are: not those that are stored in fewer bits or elsewhere."""
    hooks = getattr(getattr(layer, "_diffusers_hook", None), "hooks", None)
    return not hooks and all(weight.dtype == dtype for weight in layer.parameters())


def _merge(layer: Any, own: torch.nn.Module, names: Sequence[str]) -> list[torch.nn.Parameter]:
    """Give a layer of the copy weights of its own, with LoRAs in them.

    Args:
        layer: PEFT's.
        own: The same one in the copy.
        names: Of the LoRAs.

    Returns:
        The weights.
    """
    for name, weight in list(own.named_parameters(recurse=False)):
        own.register_parameter(name, torch.nn.Parameter(weight.clone(), requires_grad=False))
    # PEFT changes the weights of the layer that it is around, and remembers that.
    around = copy.copy(layer)
    around.__dict__.update(_modules={**layer._modules, "base_layer": own}, merged_adapters=[], _caches={})
    around.merge(adapter_names=list(names))
    return list(own.parameters())
