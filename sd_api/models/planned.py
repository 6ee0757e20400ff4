"""The plan for a model of the catalog on this machine: what is measured and what is configured, put together."""

from dataclasses import replace

import torch
from psutil import virtual_memory

from sd_api.models.backends.quantized import installed_quantizers, require_quantizer
from sd_api.models.bounded_files import read_object
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice
from sd_api.models.families.any_pipeline import AnyPipeline
from sd_api.models.families.registry import family_named
from sd_api.models.file_sizes import folder_sizes, single_file_sizes
from sd_api.models.memory_plan import Machine, MemoryPlan, Wishes, plan_memory
from sd_api.models.model_sizes import ModelSizes
from sd_api.models.sources import MODEL_INDEX, ModelDirectory, ModelFile
from sd_api.settings import Settings


def sizes_of(model: ModelDirectory | ModelFile, *, half: bool) -> ModelSizes:
    """The sizes of a model on this machine.

    Args:
        model: its files, which have no faults.
        half: whether weights in half precision are those that are loaded, where there are any.
    """
    if isinstance(model, ModelFile):
        return single_file_sizes(model)
    family = family_named(str(read_object(model.path / MODEL_INDEX).get("_class_name")))
    return replace(folder_sizes(model, half=half), together=isinstance(family, AnyPipeline))


def wishes_of(settings: Settings, name: str | None) -> Wishes:
    """What the configuration says of a model.

    Args:
        settings: the configuration.
        name: see ``CatalogModel``; a custom model's own settings are stronger than those for all.
    """
    own = next((model for model in settings.custom_models if model.url_path == name), None)
    return Wishes(
        memory=(own and own.memory) or settings.memory,
        quantize=(own and own.quantize) or settings.quantize,
        placement=(own and own.placement) or settings.placement,
        compile=settings.compile,
    )


def machine_of(settings: Settings, device: DeviceChoice) -> Machine:
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
        dtype_is_configured=settings.dtype != "auto",
        bf16=bf16,
        quantizers=installed_quantizers(),
    )


def plan_for(
    model: ModelDirectory | ModelFile, name: str | None, settings: Settings, device: DeviceChoice
) -> MemoryPlan:
    """How a model whose files are on this machine will run here.

    Raises:
        ModelUnavailable: the configuration asks for weights that cannot be made here.
    """
    wishes, machine = wishes_of(settings, name), machine_of(settings, device)
    require_quantizer(wishes.quantize, machine.kind, single_file=isinstance(model, ModelFile))
    if isinstance(model, ModelFile):
        # Only folders are quantized while they are loaded.
        machine = replace(machine, quantizers=frozenset())
    return plan_memory(sizes_of(model, half=device.torch_dtype in HALF_PRECISIONS), machine, wishes)
