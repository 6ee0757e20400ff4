"""Loads one part of a model from its folder, and sees to it that no weight is missing."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from transformers import CLIPImageProcessor, PreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import class_of, shown
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.folders import listed
from sd_api.models.headers import read_header
from sd_api.models.narrow_inputs import guard_narrow_inputs
from sd_api.models.part_claims import compare_part
from sd_api.models.pipeline_files import variant_of, weight_files
from sd_api.models.precision import Precision
from sd_api.models.quantization import quantization_of, refuse_unreadable, refuse_whole_numbers

_LISTED = 3

# The types of tensors as safetensors spells them.
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}


def has_weights(library: str, class_name: str) -> bool:
    """Whether a part is a network."""
    return issubclass(class_of(library, class_name), (ModelMixin, PreTrainedModel))


def load_part(
    folder: Path,
    library: str,
    class_name: str,
    precision: Precision,
    *,
    quantization: Any = None,
    place: Path | None = None,
    compared: bool = False,
) -> Any:
    """Load a network.

    Args:
        folder: its folder, whose files have no faults.
        library: see ``allowed_classes``.
        class_name: its class.
        precision: of its weights.
        quantization: how the libraries quantize it while it is loaded; None leaves its weights as they are.
        place: the folder that people know, where ``folder`` is that of a copy.
        compared: whether its configuration has been compared with its weights; otherwise this does it first.

    Raises:
        ModelUnavailable: weights are missing or do not fit its configuration, or it is quantised in a way that
            cannot be read here.
    """
    refuse_unreadable(folder, library)
    part_class = class_of(library, class_name)
    if not compared:
        with refused_claims():
            compare_part(part_class, folder, half=precision.half)
    names = [file.name for file in folder.iterdir()]
    if quantization_of(folder) is None:
        for name in _stored(names, precision):
            refuse_whole_numbers(place or folder, read_header(folder / name))
    options: dict[str, Any] = {
        "variant": variant_of(names, half=precision.half),
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
        "dtype": precision.dtype,
    }
    if precision.only_checked and quantization_of(folder) is None:
        # The weights stay where they are: in the file, or nowhere.
        if issubclass(part_class, PreTrainedModel):
            options |= {"device_map": "meta", "dtype": "auto"}
        else:
            options["dtype"] = _stored_dtype(folder, names, precision)
    elif quantization is not None:
        options["quantization_config"] = quantization
    part, info = part_class.from_pretrained(folder, **options)
    refuse_missing_weights(place or folder, info["missing_keys"])
    return part


@contextmanager
def refused_claims(role: str = "") -> Iterator[None]:
    """Refuse the model whose part does not fit its weights.

    Args:
        role: what a message begins with, such as ``vae: ``.

    Raises:
        ModelUnavailable: in place of a fault of its files.
    """
    try:
        yield
    except FileFaultError as fault:
        raise ModelUnavailable(f"{role}{fault}.") from None


def prepare_half(part: Any, device: torch.device, *, convolutional: bool) -> None:
    """Prepare a network in half precision for where it will run.

    Args:
        part: the network.
        device: where it will run.
        convolutional: whether most of its time goes into convolutions.
    """
    # Autoencoders of videos have weights of five dimensions, which have no such order.
    plain = not getattr(part, "is_quantized", False) and all(weight.dim() < 5 for weight in part.parameters())
    if convolutional and plain:
        # Faster there, on processors and graphics cards; in fp32 the last bit would differ from diffusers' own.
        part.to(memory_format=torch.channels_last)
    if device.type == "cpu":
        guard_narrow_inputs(part)


def added_parts(loaded: Mapping[str, Any], entries: Collection[str]) -> dict[str, Any]:
    """The parts that a model needs and does not have, by their names.

    A safety checker that came without what prepares pictures for it gets that: as CLIP, which it is built on, takes
    them.

    Args:
        loaded: the model's networks, by their names.
        entries: the names of all its parts.
    """
    if (checker := loaded.get("safety_checker")) is None or "feature_extractor" in entries:
        return {}
    side = checker.config.vision_config.image_size
    crop = {"height": side, "width": side}
    return {"feature_extractor": CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop)}


def refuse_missing_weights(place: object, missing: Any) -> None:
    """Refuse a network that would run with weights that are not there.

    Args:
        place: its folder or file, for the message.
        missing: the names of its weights that are missing.

    Raises:
        ModelUnavailable: there are some.
    """
    if names := sorted(map(str, missing)):
        lacking = listed([shown(name) for name in names], _LISTED)
        raise ModelUnavailable(f"{place} is incomplete: it lacks the weights {lacking}. Get the complete model.")


def _stored(names: list[str], precision: Precision) -> list[str]:
    return [name for name in weight_files(names, half=precision.half) if name.endswith(".safetensors")]


def _stored_dtype(folder: Path, names: list[str], precision: Precision) -> torch.dtype:
    infos = (info for name in _stored(names, precision) for info in read_header(folder / name).tensors.values())
    return next((_DTYPES[info.dtype] for info in infos if info.dtype in _DTYPES), precision.dtype)
