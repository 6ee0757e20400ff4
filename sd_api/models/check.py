"""What ``--check`` looks at beyond the files on this machine: the device, and models on the hub."""

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.device import choose_device
from sd_api.models.safety import check_safety_filter
from sd_api.models.sources import HubModel, parse_source
from sd_api.settings import Settings


def find_further_faults(settings: Settings) -> list[str]:
    """Find what would keep the server from making pictures, without loading any model.

    Args:
        settings: valid ones, whose local models have been checked.

    Returns:
        One line for each fault.
    """
    faults: list[str] = []
    try:
        choose_device(settings.device, settings.dtype)
    except ConfigurationError as error:
        faults += error.faults
    source, token = parse_source(settings.model), hub.token_of(settings)
    try:
        if isinstance(source, HubModel):
            if hub.cached(source.repo_id, half=True) is None:
                hub.check_access(source.repo_id, token, settings.limits)
        elif settings.requires_safety_checker and not (source.path / "safety_checker").is_dir():
            check_safety_filter(token)
    except ModelUnavailable as error:
        faults.append(f"model: {error.message}")
    return faults
