"""From a model's source to a pipeline on its device."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DiffusionPipeline

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.bounded_files import read_object
from sd_api.models.checkpoint_config import fetch_config
from sd_api.models.checkpoint_file import DENOISERS, load_checkpoint
from sd_api.models.converted import copy_in_background, find_copy, is_worth_copying
from sd_api.models.device import DTYPES, DeviceChoice
from sd_api.models.families.registry import family_named
from sd_api.models.files import find_faults
from sd_api.models.fitness import refuse_unfit
from sd_api.models.narrow_inputs import guard_narrow_inputs
from sd_api.models.opened_checkpoint import open_checkpoint
from sd_api.models.part_loading import feature_extractor_of, has_weights, load_part
from sd_api.models.pickled import without_pickles
from sd_api.models.pipeline_files import parts
from sd_api.models.precision import Precision
from sd_api.models.quantization import Quantization, quantise, refuse_missing
from sd_api.models.separate_parts import separate_parts
from sd_api.models.sources import MODEL_INDEX, HubModel, ModelDirectory, ModelFile, ModelSource, parse_source
from sd_api.models.state_dict import WeightFile, is_scaled
from sd_api.settings import Limits, ModelSettings

log = logging.getLogger(__name__)

NO_SETTINGS = ModelSettings()


def load_pipeline(
    source: ModelSource,
    device: DeviceChoice,
    token: str | None,
    limits: Limits,
    settings: ModelSettings = NO_SETTINGS,
    **components: Any,
) -> Any:
    """Load a model into the host's memory, downloading it first where it is not on this machine.

    Args:
        source: where the model is.
        device: where it will run, and in which precision.
        token: for the hub.
        limits: for a model that is downloaded or converted.
        settings: what the configuration says of it; its precision is stronger than the device's.
        components: parts to use in place of the model's own, such as ``safety_checker``.

    Raises:
        ModelUnavailable: with the reason, and what to do.
    """
    started = time.monotonic()
    dtype = DTYPES[settings.dtype] if settings.dtype else device.torch_dtype
    precision = Precision(dtype, settings.quantize)
    refuse_missing(settings.quantize)
    pipeline = _build(source, precision, token, limits, settings, components)
    if isinstance(getattr(pipeline, "vae", None), AutoencoderTiny):
        _correct_tiles(pipeline.vae, pipeline.vae_scale_factor)
    if precision.half:
        # Faster there, on processors and graphics cards; in fp32 the last bit would differ from diffusers' own.
        for name in ("unet", "vae"):
            if (part := pipeline.components.get(name)) is not None and not getattr(part, "is_quantized", False):
                part.to(memory_format=torch.channels_last)
        if device.device.type == "cpu":
            for part in pipeline.components.values():
                if isinstance(part, torch.nn.Module):
                    guard_narrow_inputs(part)
    quantize: Quantization = settings.quantize or ("fp8" if _is_in_fp8(source) else "none")
    for name in DENOISERS:
        if (part := pipeline.components.get(name)) is not None:
            quantise(part, quantize, precision.dtype)
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
    refuse_missing(settings.quantize)
    dtype = DTYPES[settings.dtype] if settings.dtype else device.torch_dtype
    _build(source, Precision(dtype, settings.quantize, only_checked=True), token, limits, settings, {})


def _build(
    source: ModelSource,
    precision: Precision,
    token: str | None,
    limits: Limits,
    settings: ModelSettings,
    components: Mapping[str, Any],
) -> Any:
    if isinstance(source, ModelFile):
        _refuse_faults(source)
        place = source.path
        base = _base_folder(settings, precision, token, limits)
        with explained_loading(place):
            checkpoint = open_checkpoint(place, base, lambda architecture: fetch_config(place, architecture, token))
            entries = dict(parts(checkpoint.index))
            given = separate_parts(settings, checkpoint.config, entries, precision, token, limits)
            pipeline = load_checkpoint(checkpoint, precision, given)
    else:
        if settings.base is not None:
            raise ModelUnavailable(f"base: {source} is a whole model; only a file of weights has a base.")
        place = local_directory(source, token, limits, half=precision.half)
        pipeline = _load_directory(place, precision, settings, token, limits, components)
    if settings.prediction_type is not None:
        changes: dict[str, Any] = {"prediction_type": settings.prediction_type}
        if settings.prediction_type == "epsilon" and pipeline.scheduler.config.get("rescale_betas_zero_snr"):
            # In pure noise there is nothing of which the noise could be told apart (arXiv:2305.08891).
            changes["rescale_betas_zero_snr"] = False
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    refuse_unfit(pipeline, place)
    return pipeline


def _base_folder(settings: ModelSettings, precision: Precision, token: str | None, limits: Limits) -> Path | None:
    """The folder of the model that has what a file lacks, whatever it is that the file has."""
    if settings.base is None:
        return None
    source = parse_source(settings.base)
    if isinstance(source, ModelFile):
        raise ModelUnavailable(
            f"base: {source} is a file; name a directory with model_index.json or a Hugging Face id."
        )
    without = (*DENOISERS, "vae") if settings.vae else DENOISERS
    folder = local_directory(source, token, limits, half=precision.half, without=without)
    if faults := find_faults(ModelDirectory(folder), without):
        raise ModelUnavailable(f"base: {'; '.join(faults)}.")
    return without_pickles(ModelDirectory(folder)).path


def _is_in_fp8(source: ModelSource) -> bool:
    """Whether a file has its weights in fp8 as they are to be used."""
    if not isinstance(source, ModelFile):
        return False
    header = WeightFile(source.path).header
    return any(info.dtype == "F8_E4M3" for info in header.tensors.values()) and not is_scaled(header)


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
    token: str | None,
    limits: Limits,
    components: Mapping[str, Any],
) -> DiffusionPipeline:
    _refuse_faults(ModelDirectory(published))
    path = without_pickles(ModelDirectory(published)).path
    # Single precision is what models come in: there is nothing to convert.
    copies = precision.half and not precision.only_checked and settings.quantize in (None, "none")
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
                    quantize=name in DENOISERS,
                    place=published / name,
                )
        if given.get("safety_checker") is not None and "feature_extractor" not in entries:
            given["feature_extractor"] = feature_extractor_of(given["safety_checker"])
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


def _correct_tiles(vae: AutoencoderTiny, factor: int) -> None:
    """Make decoding in tiles work: diffusers takes the number of colours for the number of levels, right only for 8."""
    vae.spatial_scale_factor = factor
    vae.tile_latent_min_size = vae.tile_sample_min_size // factor


def _refuse_faults(source: ModelSource) -> None:
    if faults := find_faults(source):
        raise ModelUnavailable(f"The model cannot be loaded: {'; '.join(faults)}.")
