"""Compares what a model's configurations claim with the weights that it has, before memory is taken for them.

A configuration may say anything: a vocabulary of millions, channels that are words, groups of none. So a model is first
made on torch's device ``meta``, where tensors have shapes and no memory, by the libraries' own code, and its shapes are
compared with those in the weights' headers. ``--check`` and loading both do this.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin, SchedulerMixin
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.models.allowed_classes import class_of, shown
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.image_words import processor_of
from sd_api.models.part_loading import added_parts
from sd_api.models.pipeline_files import parts, variant_of
from sd_api.models.quantization import quantization_of
from sd_api.models.schedulers import make_scheduler
from sd_api.models.sources import MODEL_INDEX
from sd_api.models.weight_headers import Shapes, shapes_of

# What is made beside the weights: tables of positions, and what initial values are computed from. A weight is made
# once and filled a few times.
_FURTHER_NUMBERS = 64 * 1024**2
_FURTHER_OPERATIONS = 2_000
_OPERATIONS_FOR_EACH = 8

_STEPS_TRIED = 4
# The tokens before and after those of the words.
_FRAME = 2


def find_claim_faults(directory: Path, pipeline_class: Any, components: Mapping[str, Any], *, half: bool) -> list[str]:
    """Find what of a model's configurations does not fit its weights, or makes no model.

    Args:
        directory: of a model whose files have no faults and whose weights are safetensors.
        pipeline_class: what it is loaded as.
        components: parts that are not the model's own.
        half: whether the publisher's weights in half precision are those to be loaded.

    Returns:
        One line for each fault.
    """
    made = dict(components)
    faults: list[str] = []
    entries = dict(parts(read_object(directory / MODEL_INDEX)))
    for name, (library, class_name) in entries.items():
        kind = class_of(library, class_name)
        try:
            if name not in made and issubclass(kind, torch.nn.Module):
                made[name] = _module(kind, directory / name, half=half)
            elif issubclass(kind, SchedulerMixin):
                _try_scheduler(kind, directory / name / "scheduler_config.json")
        except FileFaultError as fault:
            faults.append(str(fault))
    if not faults:
        try:
            with _explained(directory / MODEL_INDEX, pipeline_class):
                made |= added_parts(made, entries) | processor_of(directory, entries)
                pipeline = pipeline_class.from_pretrained(directory, local_files_only=True, **made)
                family_of(pipeline).abilities(Parts(pipeline, torch.device("meta"), lambda _: None))
            for suffix in ("", "_2"):
                words, encoder = pipeline.components.get(f"tokenizer{suffix}"), made.get(f"text_encoder{suffix}")
                if words is not None and isinstance(encoder, CLIPPreTrainedModel):
                    _try_tokenizer(words, encoder.config, directory / f"tokenizer{suffix}" / "tokenizer_config.json")
        except FileFaultError as fault:
            faults.append(str(fault))
    return faults


def _module(kind: Any, folder: Path, *, half: bool) -> torch.nn.Module:
    """A part on the device ``meta``; weights that are quantized have other shapes, and are not compared.

    Raises:
        FileFaultError: its configuration makes no such part, or one that its weights do not fit.
    """
    config = folder / "config.json"
    published = issubclass(kind, PreTrainedModel)
    variant = variant_of([file.name for file in folder.iterdir()], half=half)
    shapes, sharded = shapes_of(folder, "model" if published else "diffusion_pytorch_model", variant)
    if quantization_of(folder) is not None:
        with _explained(config, kind), _Bounds(shapes), torch.device("meta"):
            own = _config_of(kind, folder)
            packed: torch.nn.Module = kind(own) if published else kind.from_config(own)
            return packed
    with _explained(config, kind), _Bounds(shapes):
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        if published:
            module, missing, wrong = _of_transformers(kind, folder, weights)
        else:
            module, missing, wrong = _of_diffusers(kind, folder, weights, sharded=sharded)
    for name, (claimed, had) in wrong.items():
        raise FileFaultError(
            config, f"it claims {_shown(claimed)} numbers for {shown(name)}, and its weights have {_shown(had)}"
        )
    if missing:
        raise FileFaultError(
            config, f"it claims weights that the files do not have: {len(missing)}, such as {shown(min(missing))}"
        )
    return module


def _config_of(kind: Any, folder: Path) -> Any:
    if issubclass(kind, PreTrainedModel):
        return kind.config_class.from_pretrained(folder, local_files_only=True)
    return kind.load_config(folder, local_files_only=True)


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
    config = _config_of(kind, folder)
    _refuse_words(kind, folder / "config.json", config)
    with torch.device("meta"):
        module: ModelMixin = kind.from_config(config)
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


def _try_scheduler(kind: Any, path: Path) -> None:
    """Make a scheduler, and one step of those whose arguments are known."""
    config = read_object(path)
    _refuse_words(kind, path, config)
    with _explained(path, kind):
        scheduler = make_scheduler(None, kind.from_config(config))
        if kind.__name__ not in {choice.class_name for choice in SCHEDULERS.values()}:
            return
        scheduler.set_timesteps(_STEPS_TRIED)
        latents = torch.zeros(1, 4, 8, 8)
        drawn = {"generator": torch.Generator()} if "generator" in signature(scheduler.step).parameters else {}
        made = scheduler.step(latents, scheduler.timesteps[0], latents, **drawn).prev_sample
    if not torch.isfinite(made).all():
        raise FileFaultError(path, "its numbers make no noise schedule: what is left after a step are not numbers")


def _try_tokenizer(tokenizer: Any, encoder: Any, path: Path) -> None:
    """Have words read, as a pipeline has them read for CLIP: as many tokens as there may be."""
    with _explained(path, type(tokenizer)):
        longest, most = tokenizer.model_max_length, encoder.max_position_embeddings
        if not isinstance(longest, int) or longest <= _FRAME:
            raise FileFaultError(
                path, f"its model_max_length is {shown(longest)}; the text encoder reads {most} tokens"
            )
        # Where it names no bound or a wide one, loading sets the text encoder's.
        longest = min(longest, most)
        tokens = tokenizer("a", padding="max_length", max_length=longest, truncation=True).input_ids
        if (highest := max(*tokens, *tokenizer.get_vocab().values())) >= encoder.vocab_size:
            raise FileFaultError(path, f"it has a token {highest}, and the text encoder knows {encoder.vocab_size}")


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


@contextmanager
def _explained(path: Path, kind: Any) -> Iterator[None]:
    try:
        yield
    except ModelUnavailable as error:
        raise FileFaultError(path, error.message.removesuffix(".")) from None
    except FileFaultError:
        raise
    except _ClaimsTooMuchError:
        raise FileFaultError(path, "it claims many times what the weights have") from None
    except Exception as error:
        # The libraries fail in as many ways as there are parts.
        reason = shown(" ".join(str(error).split()), 300)
        raise FileFaultError(path, f"no {kind.__name__} can be made of it: {type(error).__name__}: {reason}") from None


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
