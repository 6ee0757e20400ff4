"""Pipelines of several classes over the same modules."""

import copy
from inspect import signature
from typing import Any

import torch
from diffusers import DiffusionPipeline

from sd_api.models.streaming import hooks_of, unstream


def shared_copy(module: torch.nn.Module) -> Any:
    """A module of the same structure and with the same weights, of which anything but the weights may be changed.

    Where the layers of the original are streamed to the device, those of the copy are not yet.
    """
    shared = (*module.parameters(), *module.buffers(), *hooks_of(module))
    copied = copy.deepcopy(module, {id(each): each for each in shared})
    unstream(copied)
    return copied


def follow(shared: torch.nn.Module, device: torch.device) -> None:
    """Have the buffers of a shared copy where its weights are: moving the original moves only these."""
    if any(buffer.device != device for buffer in shared.buffers()):
        shared.to(device)


def pipeline_of(pipeline_class: type[DiffusionPipeline], loaded: Any, **changes: Any) -> Any:
    """A pipeline whose modules are those of another one.

    Not diffusers' ``from_pipe``: it converts the shared weights in place, to single precision unless it is given
    another one, and then also those that a model keeps in single precision for good reason.

    Args:
        pipeline_class: What to make.
        loaded: The pipeline that holds the modules.
        changes: Arguments of the class that are not to be as in ``loaded``, such as ``scheduler``.
    """
    arguments: dict[str, Any] = {}
    for name in list(signature(pipeline_class.__init__).parameters)[1:]:
        if name in changes:
            arguments[name] = changes[name]
        elif name in loaded.components:
            arguments[name] = loaded.components[name]
        elif name in loaded.config:
            arguments[name] = loaded.config[name]
    if "requires_safety_checker" in arguments and arguments.get("safety_checker") is None:
        # The filter is ours, for every family; the pipeline need not warn that it has none.
        arguments["requires_safety_checker"] = False
    pipeline = pipeline_class(**arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
