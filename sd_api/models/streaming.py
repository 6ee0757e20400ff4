"""Modules that run from the host's memory: their layers come to the device one by one, by hooks of diffusers.

A hook belongs to the layer that it was made for, so a copy of such a module has to be freed of its hooks before it can
be changed, and gets its own. Weights that both share are moved by whichever runs.
"""

from typing import Any

import torch
from diffusers.hooks import HookRegistry, apply_group_offloading

# What diffusers calls the hooks.
_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


def stream(module: torch.nn.Module, device: torch.device, *, pinned: bool) -> None:
    """Let a module run from the host's memory.

    Args:
        module: It comes there as a whole.
        device: Where it computes.
        pinned: Whether the weights are where the system may not move them, so that layers move while others run.
    """
    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type in ("cuda", "xpu"),
        low_cpu_mem_usage=not pinned,
    )


def unstream(module: torch.nn.Module) -> None:
    """Take the hooks off a module; what its last layers left on the device stays there."""
    for registry in _registries(module):
        for name in _HOOKS:
            registry.remove_hook(name, recurse=False)


def hooks_of(module: torch.nn.Module) -> list[Any]:
    """The hooks of a module that runs from the host's memory; empty for others."""
    return [hook for registry in _registries(module) for name, hook in registry.hooks.items() if name in _HOOKS]


def _registries(module: torch.nn.Module) -> list[HookRegistry]:
    found = (getattr(each, "_diffusers_hook", None) for each in module.modules())
    return [registry for registry in found if registry is not None]
