"""Loads a model from a file of its weights: of all of it, or of its largest part, with the rest from another model.

Such a file contains weights only. The configurations and the tokenizer of Stable Diffusion 1, 2 and XL are part of this
package; those of other architectures come from the model's ``base``, or are downloaded once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, pipelines
from diffusers.loaders.single_file import load_single_file_sub_model
from diffusers.loaders.single_file_utils import SingleFileComponentError
from transformers import CLIPTokenizer

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import class_of
from sd_api.models.architectures import UNET_PREFIX, kind_of, unet_channels
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.image_words import REPLACED, ImageWords
from sd_api.models.opened_checkpoint import DENOISERS, OpenedCheckpoint, origins_of
from sd_api.models.part_claims import bound_part, scheduler_of
from sd_api.models.part_loading import has_weights, load_part, refused_claims
from sd_api.models.pipeline_files import parts
from sd_api.models.precision import Precision
from sd_api.models.sources import SD1_CONFIG

# The safety filter follows from the configuration of the server, not from the file.
NO_FILTER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

# Playground v2.5 (arXiv:2402.17245): the statistics of its latents are in the file, and its noise is EDM's.
_PLAYGROUND_SCALING = 0.5
_PLAYGROUND_SCHEDULER = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5}
# CosXL, which Stability AI trained to predict velocities with EDM's noise; its file has a key of the name.
_COSXL_KEY = "edm_vpred.sigma_max"
_COSXL_SCHEDULER = {
    "sigma_min": 0.002,
    "sigma_max": 120.0,
    "sigma_data": 1.0,
    "prediction_type": "v_prediction",
    "sigma_schedule": "exponential",
}


def load_checkpoint(checkpoint: OpenedCheckpoint, precision: Precision, given: Mapping[str, Any]) -> Any:
    """Load a model; no code in its file is run.

    Args:
        checkpoint: what ``open_checkpoint`` returned.
        precision: of its weights.
        given: parts that are taken in place of the model's own.

    Returns:
        A pipeline on the CPU, without a safety checker. Its weights may be memory-mapped from the file.

    Raises:
        ModelUnavailable: the file is incomplete, or its weights do not fit its architecture.
    """
    entries = {name: entry for name, entry in parts(checkpoint.index) if name not in NO_FILTER}
    origins = origins_of(checkpoint, entries, given)
    tensors = checkpoint.weights.tensors()
    loaded: dict[str, Any] = dict(given)
    for name, (library, class_name) in entries.items():
        if name in given or origins[name] is None:
            loaded.setdefault(name, None)
        elif origins[name] == "file":
            loaded[name] = _from_file(checkpoint, name, (library, class_name), tensors, precision)
        elif has_weights(library, class_name):
            loaded[name] = load_part(checkpoint.config / name, library, class_name, precision)
        else:
            loaded[name] = _small_part(checkpoint, name, library, class_name)
    pipeline_class = _pipeline_class(checkpoint.pipeline)
    known = signature(pipeline_class.__init__).parameters
    settings = {key: value for key, value in checkpoint.index.items() if key in known and not isinstance(value, list)}
    arguments = {name: value for name, value in (NO_FILTER | loaded).items() if name in known}
    return pipeline_class(**{**settings, **arguments})


def _from_file(
    checkpoint: OpenedCheckpoint,
    name: str,
    entry: tuple[str, str],
    tensors: Mapping[str, Any],
    precision: Precision,
) -> Any:
    library, class_name = entry
    changes = _changes(checkpoint, name, tensors)
    with _explained(checkpoint, name):
        made = bound_part(class_of(*entry), checkpoint.config / name, checkpoint.weights.header.shapes, changes)
        if name in DENOISERS and checkpoint.weights.header.format == "gguf":
            changes["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=precision.dtype)
        part = load_single_file_sub_model(
            library,
            class_name,
            name,
            # Some conversions take what they use out of it.
            _of_part(made, tensors),
            pipelines,
            is_pipeline_module=False,
            cached_model_config_path=str(checkpoint.config),
            local_files_only=True,
            torch_dtype=_dtype(tensors, precision),
            **changes,
        )
        if any(weight.is_meta for weight in part.parameters()):
            raise NotImplementedError
    return part


def _of_part(part: torch.nn.Module, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a part by diffusers' names alone, if the file has all of them; else all, by whichever names."""
    names = part.state_dict().keys()
    for prefix in ("", UNET_PREFIX):
        if all(prefix + name in tensors for name in names):
            return {name: tensors[prefix + name] for name in names}
    return dict(tensors)


def _dtype(tensors: Mapping[str, Any], precision: Precision) -> torch.dtype:
    """The precision of what is loaded; where it is only checked, the file's own, so that nothing is copied."""
    if not precision.only_checked:
        return precision.dtype
    kinds = (tensor.dtype for tensor in tensors.values())
    return next((kind for kind in kinds if kind.is_floating_point and kind.itemsize > 1), precision.dtype)


def _changes(checkpoint: OpenedCheckpoint, name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What differs of a part's configuration from that of its architecture."""
    if name == "unet":
        return {"in_channels": unet_channels(checkpoint.weights.header)}
    if checkpoint.base:
        return {}
    if name == "vae" and kind_of(checkpoint.weights.header) == "playground-v2-5":
        return {
            "scaling_factor": _PLAYGROUND_SCALING,
            "latents_mean": tensors["edm_mean"].flatten().tolist(),
            "latents_std": tensors["edm_std"].flatten().tolist(),
        }
    return {}


def _small_part(checkpoint: OpenedCheckpoint, name: str, library: str, class_name: str) -> Any:
    """A tokenizer, a scheduler or a processor."""
    folder = checkpoint.config / name
    if name.startswith("tokenizer") and not folder.is_dir():
        # One vocabulary serves all CLIP encoders; those of OpenCLIP were trained with another padding.
        is_first_of_sdxl = name == "tokenizer" and "tokenizer_2" in checkpoint.index
        padding = {} if is_first_of_sdxl else {"pad_token": "!"}
        return CLIPTokenizer.from_pretrained(SD1_CONFIG / "tokenizer", **padding)
    if name == "scheduler":
        return _scheduler(checkpoint, class_name)
    kind = ImageWords if (library, class_name) == REPLACED else class_of(library, class_name)
    return kind.from_pretrained(folder, local_files_only=True)


def _scheduler(checkpoint: OpenedCheckpoint, class_name: str) -> Any:
    header = checkpoint.weights.header
    if kind_of(header) == "playground-v2-5":
        return diffusers.EDMDPMSolverMultistepScheduler(**_PLAYGROUND_SCHEDULER)
    if _COSXL_KEY in header.tensors:
        return diffusers.EDMEulerScheduler(**_COSXL_SCHEDULER)
    path = checkpoint.config / "scheduler" / "scheduler_config.json"
    name, config = checkpoint.traits.scheduler(class_name, read_object(path))
    with refused_claims():
        return scheduler_of(getattr(diffusers, name), path, config)


def _pipeline_class(name: str) -> Any:
    from sd_api.models.families.registry import family_named

    family = family_named(name)
    assert family is not None, name  # noqa: S101 - faults of the index have been refused
    found = family.loading_class(name)
    # A family that loads what the index names says so by the base of all pipelines.
    return getattr(diffusers, name) if found is DiffusionPipeline else found


@contextmanager
def _explained(checkpoint: OpenedCheckpoint, part: str) -> Iterator[None]:
    """Translate the errors of diffusers for weights that do not fit the architecture's configuration."""
    try:
        yield
    except NotImplementedError:
        # Weights that the file does not contain stay on the meta device, and cannot be moved.
        raise ModelUnavailable(
            f"{checkpoint.path} is incomplete: weights of its {part} are missing. Get the complete file of this model."
        ) from None
    except (
        FileFaultError,
        SingleFileComponentError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelUnavailable(
            f"{checkpoint.path} seems to hold {checkpoint.name}, but its {part} is of another architecture, which "
            f"this server cannot run: {_reason(checkpoint, error)}"
        ) from error


def _reason(checkpoint: OpenedCheckpoint, error: Exception) -> str:
    text, of_shapes = str(error).split(". ")[0], "Cannot load  because "
    if isinstance(error, FileFaultError) or text.startswith(of_shapes):
        return text.removeprefix(of_shapes)
    # A conversion has come upon names that it does not know; what it says is not for people.
    return f"its tensors are called {checkpoint.first_name} and the like"
