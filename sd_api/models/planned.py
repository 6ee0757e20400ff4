"""The plan for a model of the catalog on this machine: what is measured and what is configured, put together."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from psutil import virtual_memory

from sd_api.errors import ModelUnavailable
from sd_api.generation.plan import area
from sd_api.models import hub
from sd_api.models.architectures import text_encoders_of, unet_channels
from sd_api.models.attention import Asked, choose_attention
from sd_api.models.backends.quantized import installed_quantizers, require_quantizer
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice
from sd_api.models.families.any_pipeline import AnyPipeline
from sd_api.models.families.base import Family
from sd_api.models.families.registry import family_named
from sd_api.models.families.transformer import TransformerFamily
from sd_api.models.file_sizes import folder_sizes, single_file_sizes, with_autoencoder, with_text_encoders
from sd_api.models.files import find_faults
from sd_api.models.hub_parts import cached_part
from sd_api.models.loader import not_needed_of_base, refuse
from sd_api.models.memory_plan import plan_memory
from sd_api.models.memory_values import Machine, MemoryPlan, Wishes
from sd_api.models.model_sizes import ModelSizes
from sd_api.models.pipeline_files import weight_files
from sd_api.models.separate_parts import separate_names, text_encoder_files
from sd_api.models.sources import (
    MODEL_INDEX,
    PART_CONFIG,
    HubModel,
    ModelDirectory,
    ModelFile,
    ModelSource,
    parse_part,
    parse_source,
)
from sd_api.models.state_dict import WeightFile
from sd_api.settings import ModelSettings, Settings

NO_SETTINGS = ModelSettings()


def sizes_of(
    model: ModelDirectory | ModelFile, own: ModelSettings = NO_SETTINGS, base: Path | None = None, *, half: bool
) -> ModelSizes:
    """The sizes of a model on this machine.

    Args:
        model: its files, which have no faults.
        own: what the configuration says of it.
        base: the folder of the model that has what a file lacks.
        half: whether weights in half precision are those that are loaded, where there are any.
    """
    folder = model if isinstance(model, ModelDirectory) else ModelDirectory(base) if base else None
    if isinstance(model, ModelFile):
        header = WeightFile(model.path).header
        denoiser = "transformer" if unet_channels(header) is None else "unet"
        text = text_encoders_of(header)
        sizes = single_file_sizes(header, denoiser, folder, text=text, half=half)
        given = [_place_of(name, "text_encoder", half=half) for name in own.text_encoders]
        files = [text_encoder_files(place, half=half) for place in given if place is not None]
        sizes = with_text_encoders(sizes, files, text or ("text_encoder",))
    else:
        sizes = folder_sizes(model, half=half)
    if own.vae is not None:
        sizes = with_autoencoder(sizes, *_autoencoder(own.vae, half=half))
    if folder is None:
        return sizes
    family = _family_in(folder.path)
    if not isinstance(family, TransformerFamily):
        return replace(sizes, together=isinstance(family, AnyPipeline))
    seen = family.sees.usual(area(sizes.native))
    return replace(sizes, guided=family.one_forward, seen=seen, keeps_seen=family.sees.kept)


def _family_in(folder: Path) -> Family | None:
    return family_named(str(read_object(folder / MODEL_INDEX).get("_class_name")))


@dataclass(frozen=True)
class Files:
    """Where a model is on this machine.

    Attributes:
        model: its own files.
        base: the folder of the model that has what a file lacks; None without one.
    """

    model: ModelDirectory | ModelFile
    base: Path | None


@dataclass(frozen=True)
class ToCome:
    """What of a model is to be downloaded from the hub.

    Attributes:
        repo_id: the repository.
        without: the parts of it that are not needed.
        part: the only part of it that is needed, such as ``vae``; None where it is a whole model.
    """

    repo_id: str
    without: tuple[str, ...] = ()
    part: str | None = None


def on_this_machine(source: ModelSource, own: ModelSettings, device: DeviceChoice) -> Files | list[ToCome]:
    """Where a model is, or what of it is not here yet; without network.

    Args:
        source: the model.
        own: what the configuration says of it.
        device: where it will run.

    Raises:
        ModelUnavailable: its files, or what its settings name, have faults.
    """
    half = in_own_precision(device, own).torch_dtype in HALF_PRECISIONS
    to_come = []
    if isinstance(source, HubModel):
        if (cached := hub.cached(source.repo_id, half=half)) is None:
            to_come.append(ToCome(source.repo_id))
        else:
            source = ModelDirectory(cached)
    if not isinstance(source, HubModel):
        refuse(find_faults(source))
    base = parse_source(own.base) if own.base else None
    folder = base.path if isinstance(base, ModelDirectory) else None
    if isinstance(base, HubModel):
        without = not_needed_of_base(own)
        if (folder := hub.cached(base.repo_id, half=half, without=without)) is None:
            to_come.append(ToCome(base.repo_id, without=without))
    for part, names in separate_names(own).items():
        repositories = [found.repo_id for name in names if isinstance(found := parse_part(name), HubModel)]
        to_come += [ToCome(each, part=part) for each in repositories if cached_part(each, part, half=half) is None]
    return to_come if to_come or isinstance(source, HubModel) else Files(source, folder)


def _place_of(name: str, part: str, *, half: bool) -> Path | None:
    """Where a part that the settings name is on this machine; None where it is to be downloaded first."""
    source = parse_part(name)
    return cached_part(source.repo_id, part, half=half) if isinstance(source, HubModel) else source.path


def _autoencoder(name: str, *, half: bool) -> tuple[list[Path], dict[str, Any]]:
    """The files with the weights of an autoencoder, and its configuration, as far as they are on this machine."""
    place = _place_of(name, "vae", half=half)
    if place is None:
        return [], {}
    if place.is_file():
        return [place], {}
    folder = place / "vae" if (place / MODEL_INDEX).is_file() else place
    # What is wrong with it is found where it is loaded.
    with suppress(OSError, FileFaultError):
        names = weight_files([file.name for file in folder.iterdir()], half=half)
        return [folder / name for name in names], read_object(folder / PART_CONFIG)
    return [], {}


def wishes_of(settings: Settings, own: ModelSettings) -> Wishes:
    """What the configuration says of a model.

    Args:
        settings: the configuration.
        own: what it says of this model alone, which is stronger than what it says of all.
    """
    return Wishes(
        memory=own.memory or settings.memory,
        quantize=own.quantize or settings.quantize,
        placement=own.placement or settings.placement,
        compile=settings.compile,
    )


def machine_of(settings: Settings, own: ModelSettings, device: DeviceChoice) -> Machine:
    """This machine, measured now; what this program's own models hold of the device's memory counts as free."""
    host = virtual_memory()
    total, free, bf16 = host.total, host.available, True
    if device.device.type in ("cuda", "xpu"):
        card = getattr(torch, device.device.type)
        free, total = card.mem_get_info(device.device)
        free += card.memory_reserved(device.device)
        bf16 = bool(card.is_bf16_supported(including_emulation=False))
    return Machine(
        kind=device.kind,
        total=total,
        free=free,
        host_free=host.available,
        dtype=device.dtype,
        dtype_is_configured=own.dtype is not None or settings.dtype != "auto",
        bf16=bf16,
        quantizers=installed_quantizers(),
    )


def in_own_precision(device: DeviceChoice, own: ModelSettings) -> DeviceChoice:
    """The device with the precision that the configuration demands of one model."""
    return replace(device, dtype=own.dtype) if own.dtype else device


def plan_for(
    model: ModelDirectory | ModelFile,
    own: ModelSettings,
    settings: Settings,
    device: DeviceChoice,
    base: Path | None = None,
) -> MemoryPlan:
    """How a model whose files are on this machine will run here.

    Args:
        model: its files, which have no faults.
        own: what the configuration says of it alone.
        settings: the configuration.
        device: where it will run.
        base: see ``sizes_of``.

    Raises:
        ModelUnavailable: the configuration asks for weights that cannot be made here.
    """
    device = in_own_precision(device, own)
    wishes, machine = wishes_of(settings, own), machine_of(settings, own, device)
    sizes = sizes_of(model, own, base, half=device.torch_dtype in HALF_PRECISIONS)
    in_vain = sizes.denoiser.is_quantized and wishes.quantize not in ("auto", "none")
    if in_vain and own.quantize is not None:
        raise ModelUnavailable(f'"quantize": "{own.quantize}" is not possible: {_loaded_as_it_is(sizes)}.')
    if not in_vain:
        require_quantizer(wishes.quantize, machine.kind, single_file=isinstance(model, ModelFile))
    if isinstance(model, ModelFile):
        # Only folders are quantized while they are loaded.
        machine = replace(machine, quantizers=frozenset())
    folder = base if isinstance(model, ModelFile) else model.path
    family = _family_in(folder) if folder else None
    asked: Asked = family.attention if isinstance(family, TransformerFamily) else "own"
    attention, why_attention = choose_attention(own.attention, asked, device)
    plan = plan_memory(sizes, machine, replace(wishes, attention=attention))
    plan = replace(plan, reasons=(*plan.reasons, why_attention))
    if in_vain:
        reason = f'"quantize": "{wishes.quantize}" is not applied: {_loaded_as_it_is(sizes)}'
        plan = replace(plan, reasons=(*plan.reasons, reason))
    return plan


def _loaded_as_it_is(sizes: ModelSizes) -> str:
    return f"this model is quantised already ({sizes.denoiser.main_dtype}), and is loaded as it is"
