"""What ``--check`` looks at beyond what each start does: the device, models on the hub, and what is pickled."""

import torch

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.architectures import identify
from sd_api.models.checkpoint_file import read_checkpoint
from sd_api.models.device import choose_device
from sd_api.models.files import find_faults
from sd_api.models.loader import find_loading_faults
from sd_api.models.pickled import without_pickles
from sd_api.models.safety import check_safety_filter
from sd_api.models.sources import HubModel, ModelDirectory, ModelFile, ModelSource, parse_source
from sd_api.settings import Settings


def find_further_faults(settings: Settings) -> list[str]:
    """Find what would keep the server from making pictures, without loading any model.

    Args:
        settings: valid ones, whose local models have been checked.

    Returns:
        One line for each fault.
    """
    faults: list[str] = []
    # If the device is not to be had, the faults of the models are those of this precision.
    dtype = torch.float32
    try:
        dtype = choose_device(settings.device, settings.dtype).torch_dtype
    except ConfigurationError as error:
        faults += error.faults
    main = parse_source(settings.model)
    others = [parse_source(model.model_path) for model in settings.custom_models]
    names = ["model", *(f"custom_models[{index}]" for index in range(len(others)))]
    for name, source in zip(names, [main, *others], strict=True):
        try:
            _check_model(source, settings, dtype)
        except ModelUnavailable as error:
            faults.append(f"{name}: {error.message}")
    if not isinstance(main, HubModel) and settings.requires_safety_checker:
        try:
            if not (main.path / "safety_checker").is_dir():
                check_safety_filter(hub.token_of(settings))
        except ModelUnavailable as error:
            faults.append(f"model: {error.message}")
    return faults


def _check_model(source: ModelSource, settings: Settings, dtype: torch.dtype) -> None:
    if isinstance(source, HubModel):
        if (folder := hub.cached(source.repo_id, half=True)) is None:
            hub.check_access(source.repo_id, hub.token_of(settings), settings.limits)
            return
        source = ModelDirectory(folder)
    if faults := find_faults(source):
        raise ModelUnavailable("; ".join(faults))
    if isinstance(source, ModelFile):
        identify(source.path, read_checkpoint(source.path))
    elif faults := find_loading_faults(without_pickles(source).path, dtype):
        raise ModelUnavailable("; ".join(faults))
