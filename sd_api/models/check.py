"""What ``--check`` looks at beyond what each start does: the device, models on the hub, what is pickled, memory."""

from dataclasses import dataclass

import torch

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.architectures import identify
from sd_api.models.checkpoint_file import read_checkpoint
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice, choose_device
from sd_api.models.files import find_faults
from sd_api.models.loader import find_loading_faults
from sd_api.models.memory_plan import gigabytes
from sd_api.models.on_disk import bytes_on_disk
from sd_api.models.pickled import without_pickles
from sd_api.models.planned import plan_for
from sd_api.models.safety import check_safety_filter
from sd_api.models.sources import HubModel, ModelDirectory, ModelFile, ModelSource, parse_source
from sd_api.settings import Settings


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
    """Find what only the models' files, the device and the hub know.

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
    main = parse_source(settings.model)
    others = [parse_source(model.model_path) for model in settings.custom_models]
    names = ["model", *(f"custom_models[{index}]" for index in range(len(others)))]
    paths = [None, *(model.url_path for model in settings.custom_models)]
    for name, path, source in zip(names, paths, [main, *others], strict=True):
        try:
            plans.append(f"{name}: {_check_model(source, path, settings, device)}")
        except ModelUnavailable as error:
            faults.append(f"{name}: {error.message}")
    if not isinstance(main, HubModel) and settings.requires_safety_checker:
        try:
            if not (main.path / "safety_checker").is_dir():
                check_safety_filter(hub.token_of(settings))
        except ModelUnavailable as error:
            faults.append(f"model: {error.message}")
    return Findings(faults, plans)


def _check_model(source: ModelSource, name: str | None, settings: Settings, device: DeviceChoice | None) -> str:
    """How a model without faults will run."""
    # If the device is not to be had, the faults of the model are those of this precision.
    dtype = torch.float32 if device is None else device.torch_dtype
    half = dtype in HALF_PRECISIONS
    if isinstance(source, HubModel):
        if (folder := hub.cached(source.repo_id, half=True)) is None:
            to_come = hub.check_access(source.repo_id, hub.token_of(settings), settings.limits, half=half)
            return f"{gigabytes(to_come)} are to be downloaded; from then on it is known how it runs"
        source = ModelDirectory(folder)
    if faults := find_faults(source):
        raise ModelUnavailable("; ".join(faults))
    if isinstance(source, ModelFile):
        identify(source.path, read_checkpoint(source.path))
    elif faults := find_loading_faults(without_pickles(source).path, dtype):
        raise ModelUnavailable("; ".join(faults))
    disk = f"{gigabytes(bytes_on_disk(source) or 0)} on the disk"
    return disk if device is None else "; ".join([disk, *plan_for(source, name, settings, device).reasons])
