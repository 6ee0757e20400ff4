"""From a model's source to a pipeline on its device."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.backends.quantized import quantization_config, store_in_fp8
from sd_api.models.checkpoint_file import load_checkpoint_file
from sd_api.models.claims import find_claim_faults
from sd_api.models.converted import copy_in_background, find_copy, is_worth_copying
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice
from sd_api.models.families.registry import family_named
from sd_api.models.files import find_faults
from sd_api.models.memory_plan import MemoryPlan
from sd_api.models.narrow_inputs import guard_narrow_inputs
from sd_api.models.pickled import without_pickles
from sd_api.models.sources import HubModel, ModelDirectory, ModelFile, ModelSource
from sd_api.settings import Limits

log = logging.getLogger(__name__)


def load_pipeline(
    source: ModelSource,
    device: DeviceChoice,
    token: str | None,
    limits: Limits,
    plan: MemoryPlan | None = None,
    **components: Any,
) -> Any:
    """Load a model into the host's memory, downloading it first where it is not on this machine.

    Args:
        source: where the model is.
        device: where it will run, and in which precision.
        token: for the hub.
        limits: for a model that is downloaded or converted.
        plan: how the weights are stored; without one, as they were published.
        components: parts to use in place of the model's own, such as ``safety_checker``.

    Raises:
        ModelUnavailable: with the reason, and what to do.
    """
    started = time.monotonic()
    half = device.torch_dtype in HALF_PRECISIONS
    if isinstance(source, ModelFile):
        _refuse(find_faults(source))
        pipeline = load_checkpoint_file(source.path, torch_dtype=device.torch_dtype, token=token)
    else:
        if plan is not None and (quantization := quantization_config(plan, device.torch_dtype)) is not None:
            components["quantization_config"] = quantization
        pipeline = _load_directory(local_directory(source, token, limits, half=half), device.torch_dtype, components)
    if half:
        # Faster there, on processors and graphics cards; in fp32 the last bit would differ from diffusers' own.
        for name in ("unet", "vae"):
            if (part := pipeline.components.get(name)) is not None:
                part.to(memory_format=torch.channels_last)
        if device.device.type == "cpu":
            for part in pipeline.components.values():
                if isinstance(part, torch.nn.Module):
                    guard_narrow_inputs(part)
    if plan is not None:
        store_in_fp8(pipeline, plan, device.torch_dtype)
    pipeline.set_progress_bar_config(disable=True)
    log.info("Loaded %s in %.1f s", source.label, time.monotonic() - started)
    return pipeline


def local_directory(source: HubModel | ModelDirectory, token: str | None, limits: Limits, *, half: bool) -> Path:
    """The folder on this machine that holds the model; a hub model is downloaded if it is not here yet.

    Args:
        source: which model.
        token: for the hub.
        limits: for a model that is downloaded.
        half: whether weights in half precision will do.
    """
    if isinstance(source, ModelDirectory):
        return source.path
    return hub.cached(source.repo_id, half=half) or hub.download(source.repo_id, token, limits, half=half)


@contextmanager
def explained_loading(path: Path) -> Iterator[None]:
    """Translate what the libraries raise where files look right and still cannot be loaded.

    Raises:
        ModelUnavailable: for everything but a lack of the device's memory.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # They fail in as many ways as there are libraries.
        log.exception("Loading %s failed", path)
        raise ModelUnavailable(
            f"The model in {path} cannot be loaded: {type(error).__name__}: {error}. Its files may be incomplete or "
            "of a kind that this server does not know; download it again, or start with --check to look for faults"
        ) from None


def find_loading_faults(path: Path, dtype: torch.dtype, components: Mapping[str, Any] | None = None) -> list[str]:
    """Find what keeps a model's directory from being loaded, by all of loading that takes no memory for weights.

    Args:
        path: of a model whose files have no faults and whose weights are safetensors.
        dtype: the precision to load it in.
        components: parts to use in place of the model's own.

    Returns:
        One line for each fault.
    """
    return find_claim_faults(path, _loading_class(path), _variant(path, dtype), components or {})


def _load_directory(published: Path, dtype: torch.dtype, components: dict[str, Any]) -> DiffusionPipeline:
    _refuse(find_faults(ModelDirectory(published)))
    path = without_pickles(ModelDirectory(published)).path
    _refuse(find_loading_faults(path, dtype, components))
    # Single precision is what models come in: there is nothing to convert.
    with explained_loading(path):
        copy = find_copy(path, dtype) if dtype in HALF_PRECISIONS else None
    with explained_loading(copy or path):
        pipeline = _loading_class(path).from_pretrained(
            copy or path,
            dtype=dtype,
            variant=_variant(copy or path, dtype),
            use_safetensors=True,
            local_files_only=True,
            **components,
        )
        if copy is None and is_worth_copying(path, dtype):
            copy_in_background(path, dtype)
    return pipeline


def _loading_class(path: Path) -> Any:
    name = DiffusionPipeline.load_config(path)["_class_name"]
    family = family_named(name)
    assert family is not None, name  # noqa: S101 - faults of the index have been refused
    return family.loading_class(name)


def _variant(path: Path, dtype: torch.dtype) -> str | None:
    """``fp16`` where the weights in half precision are those to read: better, or all that a component has.

    Components without such weights are read as they are.
    """
    half = [[".fp16" in file.name for file in folder.glob("*.safetensors")] for folder in path.iterdir()]
    wanted = dtype in HALF_PRECISIONS and any(any(files) for files in half)
    return "fp16" if wanted or any(files and all(files) for files in half) else None


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ModelUnavailable(f"The model cannot be loaded: {'; '.join(faults)}.")
