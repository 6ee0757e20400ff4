"""What ``--check`` looks at beyond what each start does: the device, the hub, whether models can be built, memory."""

from dataclasses import dataclass, replace

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.bounded_files import read_object
from sd_api.models.catalog import ModelCatalog
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice, choose_device
from sd_api.models.hub_parts import check_part
from sd_api.models.loader import base_folder, check_pipeline
from sd_api.models.memory_values import gigabytes
from sd_api.models.on_disk import bytes_on_disk
from sd_api.models.pipeline_files import parts
from sd_api.models.planned import ToCome, in_own_precision, on_this_machine, plan_for
from sd_api.models.providers import CatalogModel
from sd_api.models.safety import check_safety_filter
from sd_api.models.sources import (
    MODEL_INDEX,
    HubModel,
    ModelDirectory,
    ModelFile,
    ModelSource,
)
from sd_api.settings import Limits, Settings


@dataclass(frozen=True)
class Findings:
    """What was found without loading any model.

    Attributes:
        faults: what would keep the server from making pictures, one line for each.
        plans: how each model that has no fault will run, one line for each: disk and memory.
    """

    faults: list[str]
    plans: list[str]


def find_further_faults(settings: Settings) -> list[str]:
    """The faults of ``look_further`` alone."""
    return look_further(settings).faults


def look_further(settings: Settings) -> Findings:
    """Find what only the models' files, the device and the hub know; models are built, and no weights are read.

    Args:
        settings: valid ones, whose local models have been checked.
    """
    faults: list[str] = []
    plans: list[str] = []
    device: DeviceChoice | None = None
    try:
        device = choose_device(settings.device, settings.dtype)
    except ConfigurationError as error:
        faults += error.faults
    catalog = ModelCatalog(settings)
    models = {"model": catalog.main}
    for index, custom in enumerate(settings.custom_models):
        models[f"custom_models[{index}]"] = catalog.named(custom.url_path)
    for name, model in models.items():
        try:
            plans.append(f"{name}: {_check_model(model, settings, device)}")
        except ModelUnavailable as error:
            faults.append(f"{name}: {error.message}")
    if (unfiltered := _lacks_filter(models)) is not None:
        try:
            check_safety_filter(hub.token_of(settings))
        except ModelUnavailable as error:
            faults.append(f"{unfiltered}: {error.message}")
    return Findings(faults, plans)


def _check_model(model: CatalogModel, settings: Settings, device: DeviceChoice | None) -> str:
    """How a model without faults will run."""
    source, own, token, limits = model.source, model.settings, hub.token_of(settings), settings.limits
    # If the device is not to be had, the faults of the model are those that it has on the CPU.
    planned = device or choose_device("cpu", settings.dtype)
    half = in_own_precision(planned, own).torch_dtype in HALF_PRECISIONS
    files = on_this_machine(source, own, planned)
    if isinstance(files, list):
        # What has to be downloaded first can only be asked for.
        size = sum(_check_on_hub(each, token, limits, half=half) for each in files)
        return f"{gigabytes(size)} are to be downloaded; from then on it is known how it runs"
    base = base_folder(own, token, limits, half=half) if isinstance(files.model, ModelFile) else None
    plan = plan_for(files.model, own, settings, planned, base)
    check_pipeline(files.model, replace(planned, dtype=plan.dtype), token, limits, own)
    disk = f"{gigabytes(bytes_on_disk(files.model) or 0)} on the disk"
    seconds = "its seconds are known once a server has made pictures"
    return disk if device is None else "; ".join([disk, *plan.reasons, seconds])


def _check_on_hub(wanted: ToCome, token: str | None, limits: Limits, *, half: bool) -> int:
    if wanted.part is not None:
        return check_part(wanted.repo_id, wanted.part, token, limits, half=half)
    return hub.check_access(wanted.repo_id, token, limits, half=half, without=wanted.without)


def _lacks_filter(models: dict[str, CatalogModel]) -> str | None:
    """The first model whose pictures have to pass a filter that neither it nor the main model brings."""
    if _brings_filter(models["model"].source):
        return None
    needing = (name for name, model in models.items() if model.requires_safety_checker)
    return next((name for name in needing if not _brings_filter(models[name].source)), None)


def _brings_filter(source: ModelSource) -> bool:
    """Whether a model comes with a filter, as far as its files are here."""
    if isinstance(source, HubModel):
        folder = hub.folder_of(source.repo_id)
    else:
        folder = source.path if isinstance(source, ModelDirectory) else None
    if folder is None:
        return False
    library_and_class = dict(parts(read_object(folder / MODEL_INDEX))).get("safety_checker")
    return library_and_class == ("stable_diffusion", "StableDiffusionSafetyChecker")
