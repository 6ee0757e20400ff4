"""Compares what the configuration of one part claims with the weights that it has, before memory is taken for it.

A configuration may say anything: a vocabulary of millions, channels that are words, groups of none. So a part is first
made on torch's device ``meta``, where tensors have shapes and no memory, by the libraries' own code, and its shapes are
compared with those in the weights' headers. Whatever makes a part from a configuration on the disk does this first.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.pipeline_files import variant_of
from sd_api.models.quantization import quantization_of
from sd_api.models.schedulers import has_known_steps
from sd_api.models.sources import PART_CONFIG
from sd_api.models.trials import TrialError, try_scale, try_steps
from sd_api.models.weight_headers import Shapes, shapes_of

# What is made beside the weights: tables of positions, and what initial values are computed from. A weight is made
# once and filled a few times.
_FURTHER_NUMBERS = 64 * 1024**2
_FURTHER_OPERATIONS = 2_000
_OPERATIONS_FOR_EACH = 8


def compare_part(kind: Any, folder: Path, *, half: bool) -> torch.nn.Module:
    """Compare a part with the weights in its folder; those that are quantized have other shapes and only bound it.

    Args:
        kind: its class.
        folder: with its configuration and weights, whose files have no faults.
        half: whether the publisher's weights in half precision are those to be loaded.

    Returns:
        The part on the device ``meta``.

    Raises:
        FileFaultError: its configuration makes no such part, or one that its weights do not fit.
    """
    config = folder / PART_CONFIG
    published = issubclass(kind, PreTrainedModel)
    variant = variant_of([file.name for file in folder.iterdir()], half=half)
    shapes, sharded = shapes_of(folder, "model" if published else "diffusion_pytorch_model", variant)
    if quantization_of(folder) is not None:
        return _made(kind, folder, shapes, {})
    with explained(config, kind), _Bounds(shapes):
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        if published:
            module, missing, wrong = _of_transformers(kind, folder, weights)
        else:
            module, missing, wrong = _of_diffusers(kind, folder, weights, sharded=sharded)
        try_scale(module)
    for name, (claimed, had) in wrong.items():
        raise FileFaultError(
            config, f"it claims {_shown(claimed)} numbers for {shown(name)}, and its weights have {_shown(had)}"
        )
    if missing:
        raise FileFaultError(
            config, f"it claims weights that the files do not have: {len(missing)}, such as {shown(min(missing))}"
        )
    return module


def bound_part(kind: Any, folder: Path, shapes: Shapes, changes: Mapping[str, Any]) -> torch.nn.Module:
    """Compare a part with weights from elsewhere, whose names may be of another layout: their numbers bound it.

    Args:
        kind: its class.
        folder: with its configuration.
        shapes: of all weights that it may get.
        changes: what differs from its configuration.

    Returns:
        The part on the device ``meta``.

    Raises:
        FileFaultError: its configuration makes no such part, or one of more numbers than the weights have.
    """
    module = _made(kind, folder, shapes, changes)
    claimed, had = sum(weight.numel() for weight in module.parameters()), sum(map(math.prod, shapes.values()))
    if claimed > had + _FURTHER_NUMBERS:
        raise FileFaultError(folder / PART_CONFIG, f"it claims {claimed:,} numbers, and the weights have {had:,}")
    return module


def scheduler_of(kind: Any, path: Path, config: Mapping[str, Any]) -> Any:
    """Make a scheduler, and steps of those whose arguments are known.

    Args:
        kind: its class.
        path: of its configuration, for the message.
        config: its configuration.

    Raises:
        FileFaultError: its configuration makes no such scheduler, or one whose steps give no numbers.
    """
    _refuse_words(kind, path, config)
    with explained(path, kind):
        scheduler = kind.from_config(config)
        if has_known_steps(kind.__name__):
            try_steps(scheduler)
    return scheduler


@contextmanager
def explained(path: Path, kind: Any) -> Iterator[None]:
    """Translate what is raised where a part is made or tried.

    Args:
        path: of its configuration.
        kind: its class.

    Raises:
        FileFaultError: for everything but a lack of the device's memory.
    """
    try:
        yield
    except ModelUnavailable as error:
        raise FileFaultError(path, error.message.removesuffix(".")) from None
    except (FileFaultError, torch.OutOfMemoryError):
        raise
    except TrialError as error:
        raise FileFaultError(path, str(error)) from None
    except _ClaimsTooMuchError:
        raise FileFaultError(path, "it claims many times what the weights have") from None
    except Exception as error:
        # The libraries fail in as many ways as there are parts.
        reason = shown(" ".join(str(error).split()), 300)
        raise FileFaultError(path, f"no {kind.__name__} can be made of it: {type(error).__name__}: {reason}") from None


def _made(kind: Any, folder: Path, shapes: Shapes, changes: Mapping[str, Any]) -> torch.nn.Module:
    """A part on the device ``meta`` that makes no more than some times what the weights are."""
    path = folder / PART_CONFIG
    with explained(path, kind), _Bounds(shapes):
        config = _config_of(kind, folder)
        with torch.device("meta"):
            module: torch.nn.Module = (
                kind(config) if issubclass(kind, PreTrainedModel) else kind.from_config({**config, **changes})
            )
        try_scale(module)
    return module


def _config_of(kind: Any, folder: Path) -> Any:
    if issubclass(kind, PreTrainedModel):
        return kind.config_class.from_pretrained(folder, local_files_only=True)
    config = kind.load_config(folder, local_files_only=True)
    _refuse_words(kind, folder / PART_CONFIG, config)
    return config


Compared = tuple[torch.nn.Module, set[str], dict[str, tuple[torch.Size, torch.Size]]]
"""A part, the names of the weights that are missing, and the shapes that it claims and has where they differ."""


def _of_transformers(kind: Any, folder: Path, weights: dict[str, torch.Tensor]) -> Compared:
    module, found = kind.from_pretrained(
        None,
        config=_config_of(kind, folder),
        state_dict=weights,
        device_map="meta",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    return module, set(found["missing_keys"]), {name: (made, had) for name, had, made in found["mismatched_keys"]}


def _of_diffusers(kind: Any, folder: Path, weights: dict[str, torch.Tensor], *, sharded: bool) -> Compared:
    with torch.device("meta"):
        module: ModelMixin = kind.from_config(_config_of(kind, folder))
    if not sharded:
        # The names of the first releases, which loading replaces here as well.
        module._fix_state_dict_keys_on_load(weights)
    claimed = {name: tensor.shape for name, tensor in module.state_dict().items()}
    wrong = {
        name: (shape, weights[name].shape)
        for name, shape in claimed.items()
        if name in weights and weights[name].shape != shape
    }
    return module, claimed.keys() - weights.keys(), wrong


def _refuse_words(kind: Any, path: Path, config: Mapping[str, Any]) -> None:
    """Refuse what is no number where the class of diffusers has one: many are used only when a picture is made."""
    for name, argument in signature(kind.__init__).parameters.items():
        usual = argument.default if isinstance(argument.default, tuple) else (argument.default,)
        if not usual or not all(isinstance(number, int | float) and math.isfinite(number) for number in usual):
            continue
        value = config.get(name)
        for given in value if isinstance(value, list) else [value]:
            if isinstance(given, str) or (isinstance(given, float) and not math.isfinite(given)):
                raise FileFaultError(
                    path, f"its {shown(name)} is {shown(given)!r}, and should be a number, true or false"
                )
            if isinstance(given, int | float) and given < 0 < min(usual):
                raise FileFaultError(path, f"its {shown(name)} is {shown(given)}, and should be above 0")


class _ClaimsTooMuchError(Exception):
    """More is being made than the weights can fill."""


class _Bounds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Ends what makes much more than the weights are: their number and size bound those of a part."""

    def __init__(self, weights: Shapes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations = _OPERATIONS_FOR_EACH * len(weights) + _FURTHER_OPERATIONS
        self._numbers = _OPERATIONS_FOR_EACH * sum(map(math.prod, weights.values())) + _FURTHER_NUMBERS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._operations -= 1
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self._numbers -= made.numel()
        if min(self._operations, self._numbers) < 0:
            raise _ClaimsTooMuchError
        return made


def _shown(shape: torch.Size) -> str:
    return " × ".join(f"{side:,}" for side in shape) or "single"
