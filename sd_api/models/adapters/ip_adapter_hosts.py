"""Copies of a denoiser that attend to images by IP-Adapters; its weights are the model's own."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from sd_api.errors import OutOfMemory
from sd_api.models.adapters.ip_adapter_layers import Adapter
from sd_api.models.component import Component
from sd_api.models.sharing import follow, shared_copy
from sd_api.models.streaming import stream

# One for each set of adapters that act together.
_MOST = 4


class AdapterHosts:
    """The copies of one model's denoiser, without weights of their own.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        device: Where they run.
        forget: Drops components that are not used any more.
    """

    def __init__(self, device: torch.device, forget: Callable[[Iterable[Component]], None]) -> None:
        self._device = device
        self._forget = forget
        # By the module that they are copies of, with which they leave: it may be one with LoRAs in its weights.
        self._made: WeakKeyDictionary[Any, OrderedDict[Hashable, Any]] = WeakKeyDictionary()

    def host(
        self,
        denoiser: Component,
        adapters: Sequence[Adapter],
        weights: Sequence[float],
        running: Callable[[Iterable[Component]], Any],
        acting: Hashable,
    ) -> Any:
        """The copy with the attention of some adapters, on the device.

        Args:
            denoiser: The model's.
            adapters: At least one.
            weights: The factor of each.
            running: Gives what runs without them, on the device, together with further components.
            acting: What acts in that beside them, such as LoRAs.

        Raises:
            OutOfMemory: There is no room for the adapters.
        """
        parts = [adapter.acting for adapter in adapters]
        # Their layers come to the device as those of the denoiser do.
        found = running([] if denoiser.streamed else parts)
        module = found.module if isinstance(found, Component) else found
        if not denoiser.streamed and parts[0].device != next(module.parameters()).device:
            raise OutOfMemory("An IP-Adapter needs the whole model on the device.")
        hosts = self._made.setdefault(module, OrderedDict())
        key = acting, tuple(map(id, adapters)), denoiser.streamed
        if key not in hosts:
            hosts[key] = self._make(denoiser, module, adapters)
            while len(hosts) > _MOST:
                hosts.popitem(last=False)
        hosts.move_to_end(key)
        host = hosts[key]
        if not denoiser.streamed:
            follow(host, parts[0].device)
        for name in adapters[0].names:
            processor = host.get_submodule(name)
            processor.scale = list(weights) if isinstance(processor.scale, list) else weights[0]
        return host

    def clear(self) -> None:
        """Drop all copies."""
        self._made.clear()

    def _make(self, denoiser: Component, module: Any, adapters: Sequence[Adapter]) -> Any:
        # Weights that are made in inference mode could never be moved outside of it.
        with torch.inference_mode(mode=False):
            host = shared_copy(module)
            several = [list(shared_copy(adapter.acting.module)) for adapter in adapters]
            processors = dict(host.attn_processors)
            for number, name in enumerate(adapters[0].names):
                processors[name] = _joined([layers[number] for layers in several], processors[name])
            host.set_attn_processor(processors)
            if adapters[0].seeing is None:
                host.image_proj = several[0][-1]
            if denoiser.streamed:
                stream(host, self._device, pinned=next(denoiser.module.parameters()).is_pinned())
                # What was on the device is not any more.
                self._forget(part for adapter in adapters for part in adapter.parts)
        return host


def _joined(several: Sequence[Any], replaced: Any) -> Any:
    """The processor of several adapters, with the kernel of the one that it replaces."""
    first, *others = several
    for other in others:
        first.to_k_ip.extend(other.to_k_ip)
        first.to_v_ip.extend(other.to_v_ip)
    if hasattr(replaced, "_attention_backend"):
        first._attention_backend = replaced._attention_backend
    return first
