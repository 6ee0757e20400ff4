"""From a model's source to a pipeline on its device."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.attention import use_attention
from sd_api.models.backends.quantized import quantization_configs, store_in_fp8
from sd_api.models.bounded_files import read_object
from sd_api.models.checkpoint_config import fetch_config
from sd_api.models.checkpoint_file import load_checkpoint
from sd_api.models.claims import find_claim_faults
from sd_api.models.converted import copy_in_background, find_copy, is_worth_copying
from sd_api.models.device import DeviceChoice
from sd_api.models.families.registry import family_named
from sd_api.models.files import find_faults
from sd_api.models.fitness import refuse_unfit
from sd_api.models.image_words import processor_of
from sd_api.models.memory_values import MemoryPlan
from sd_api.models.opened_checkpoint import DENOISERS, open_checkpoint
from sd_api.models.part_loading import added_parts, has_weights, load_part, prepare_half
from sd_api.models.pickled import without_pickles
from sd_api.models.pipeline_files import parts
from sd_api.models.precision import Precision
from sd_api.models.quantization import quantization_of
from sd_api.models.separate_parts import separate_parts
from sd_api.models.sources import MODEL_INDEX, HubModel, ModelDirectory, ModelFile, ModelSource, parse_source
from sd_api.settings import Limits, ModelSettings

log = logging.getLogger(__name__)

NO_SETTINGS = ModelSettings()


def load_pipeline(
    source: ModelSource,
    device: DeviceChoice,
    token: str | None,
    limits: Limits,
    settings: ModelSettings = NO_SETTINGS,
    plan: MemoryPlan | None = None,
    **components: Any,
) -> Any:
    """Load a model into the host's memory, downloading it first where it is not on this machine.

    Args:
        source: where the model is.
        device: where it will run, and in which precision.
        token: for the hub.
        limits: for a model that is downloaded or converted.
        settings: what the configuration says of it.
        plan: how the weights are stored; without one, as they were published.
        components: parts to use in place of the model's own, such as ``safety_checker``.

    Raises:
        ModelUnavailable: with the reason, and what to do.
    """
    started = time.monotonic()
    precision = Precision(device.torch_dtype)
    pipeline = _build(source, precision, token, limits, settings, plan, components)
    if precision.half:
        for name, part in pipeline.components.items():
            if isinstance(part, torch.nn.Module):
                prepare_half(part, device.device, convolutional=name in ("unet", "vae"))
    if plan is not None:
        store_in_fp8(pipeline, plan, precision.dtype)
        use_attention(pipeline, plan.attention)
    pipeline.set_progress_bar_config(disable=True)
    log.info("Loaded %s in %.1f s", source.label, time.monotonic() - started)
    return pipeline


def check_pipeline(
    source: ModelSource, device: DeviceChoice, token: str | None, limits: Limits, settings: ModelSettings = NO_SETTINGS
) -> None:
    """See whether a model can be loaded: it is built as ``load_pipeline`` builds it, and its weights are not read.

    Args:
        source: a model on this machine.
        device: see ``load_pipeline``.
        token: see there.
        limits: see there.
        settings: see there.

    Raises:
        ModelUnavailable: with the reason, as ``load_pipeline`` gives it.
    """
    _build(source, Precision(device.torch_dtype, only_checked=True), token, limits, settings, None, {})


def _build(
    source: ModelSource,
    precision: Precision,
    token: str | None,
    limits: Limits,
    settings: ModelSettings,
    plan: MemoryPlan | None,
    components: Mapping[str, Any],
) -> Any:
    if isinstance(source, ModelFile):
        refuse(find_faults(source))
        place = source.path
        base = base_folder(settings, token, limits, half=precision.half)
        with explained_loading(place):
            checkpoint = open_checkpoint(place, base, lambda architecture: fetch_config(place, architecture, token))
            entries = dict(parts(checkpoint.index))
            given = separate_parts(settings, checkpoint.config, entries, precision, token, limits)
            pipeline = load_checkpoint(checkpoint, precision, given)
    else:
        if settings.base is not None:
            raise ModelUnavailable(f"base: {source} is a whole model; only a file of weights has a base.")
        place = local_directory(source, token, limits, half=precision.half)
        pipeline = _load_directory(place, precision, settings, plan, token, limits, components)
    if settings.prediction_type is not None:
        changes: dict[str, Any] = {"prediction_type": settings.prediction_type}
        if settings.prediction_type == "epsilon" and pipeline.scheduler.config.get("rescale_betas_zero_snr"):
            # At zero terminal SNR, predicted noise says nothing about the image (arXiv:2305.08891).
            changes["rescale_betas_zero_snr"] = False
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    refuse_unfit(pipeline, place)
    return pipeline


def base_folder(settings: ModelSettings, token: str | None, limits: Limits, *, half: bool) -> Path | None:
    """The folder of the model that has what a file lacks, whatever it is that the file has.

    Args:
        settings: of the file.
        token: for the hub.
        limits: for what is downloaded.
        half: whether weights in half precision will do.

    Returns:
        None where the settings name no base.

    Raises:
        ModelUnavailable: it is no folder of a model, or has faults.
    """
    if settings.base is None:
        return None
    source = parse_source(settings.base)
    if isinstance(source, ModelFile):
        raise ModelUnavailable(
            f"base: {source} is a file; name a directory with model_index.json or a Hugging Face id."
        )
    without = not_needed_of_base(settings)
    folder = local_directory(source, token, limits, half=half, without=without)
    if faults := find_faults(ModelDirectory(folder), without):
        raise ModelUnavailable(f"base: {'; '.join(faults)}.")
    return without_pickles(ModelDirectory(folder)).path


def not_needed_of_base(settings: ModelSettings) -> tuple[str, ...]:
    """The parts of a base whose weights come from elsewhere: from the file itself, or from what is given to it."""
    return (*DENOISERS, "vae") if settings.vae else DENOISERS


def local_directory(
    source: HubModel | ModelDirectory, token: str | None, limits: Limits, *, half: bool, without: Collection[str] = ()
) -> Path:
    """The folder on this machine that holds the model; a hub model is downloaded if it is not here yet.

    Args:
        source: which model.
        token: for the hub.
        limits: for a model that is downloaded.
        half: whether weights in half precision will do.
        without: the parts whose weights are not needed.
    """
    if isinstance(source, ModelDirectory):
        return source.path
    found = hub.cached(source.repo_id, half=half, without=without)
    return found or hub.download(source.repo_id, token, limits, half=half, without=without)


@contextmanager
def explained_loading(path: Path, copy: Path | None = None) -> Iterator[None]:
    """Translate what the libraries raise where files look right and still cannot be loaded.

    Args:
        path: the model, as people know it.
        copy: the folder that is read in its place, which the libraries name.

    Raises:
        ModelUnavailable: for everything but a lack of the device's memory.
    """
    try:
        yield
    except (ModelUnavailable, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # They fail in as many ways as there are libraries.
        log.exception("Loading %s failed", path)
        reason = f"{type(error).__name__}: {error}".replace(str(copy or path), str(path))
        raise ModelUnavailable(
            f"The model in {path} cannot be loaded: {reason}. Its files may be incomplete or "
            "of a kind that this server does not know; download it again, or start with --check to look for faults"
        ) from None


def _load_directory(
    published: Path,
    precision: Precision,
    settings: ModelSettings,
    plan: MemoryPlan | None,
    token: str | None,
    limits: Limits,
    components: Mapping[str, Any],
) -> DiffusionPipeline:
    refuse(find_faults(ModelDirectory(published)))
    path = without_pickles(ModelDirectory(published)).path
    refuse(find_claim_faults(path, _loading_class(path), components, half=precision.half))
    quantization = quantization_configs(plan, precision.dtype) if plan else {}
    # Single precision is what models come in: there is nothing to convert. The factors of quantized weights stay.
    copies = precision.half and not precision.only_checked and not any(map(quantization_of, path.iterdir()))
    with explained_loading(published):
        copy = find_copy(path, precision.dtype) if copies else None
    folder = copy or path
    with explained_loading(published, folder):
        entries = {name: entry for name, entry in parts(_index(folder)) if components.get(name, name) is not None}
        given = {**components, **separate_parts(settings, folder, entries, precision, token, limits)}
        for name, (library, class_name) in entries.items():
            if name not in given and has_weights(library, class_name):
                given[name] = load_part(
                    folder / name,
                    library,
                    class_name,
                    precision,
                    quantization=quantization.get(name),
                    place=published / name,
                    compared=True,
                )
        given |= added_parts(given, entries) | processor_of(folder, entries)
        pipeline = _loading_class(folder).from_pretrained(folder, dtype=precision.dtype, local_files_only=True, **given)
    if copies and copy is None and is_worth_copying(path, precision.dtype):
        copy_in_background(path, precision.dtype)
    return pipeline


def _index(folder: Path) -> dict[str, Any]:
    return read_object(folder / MODEL_INDEX)


def _loading_class(path: Path) -> Any:
    name = _index(path)["_class_name"]
    family = family_named(name)
    assert family is not None, name  # noqa: S101 - faults of the index have been refused
    return family.loading_class(name)


def refuse(faults: list[str]) -> None:
    """Refuse a model that has faults.

    Raises:
        ModelUnavailable: with every fault.
    """
    if faults:
        raise ModelUnavailable(f"The model cannot be loaded: {'; '.join(faults)}.")
