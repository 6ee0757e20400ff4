"""What ``--check`` looks at beyond the files on this machine: the device, and models on the hub."""

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.device import choose_device
from sd_api.models.sources import HubModel, parse_source
from sd_api.settings import Settings


def find_remote_faults(settings: Settings) -> list[str]:
    """Find what would keep the server from making pictures, without loading or downloading anything.

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
    source = parse_source(settings.model)
    if isinstance(source, HubModel) and hub.cached(source.repo_id) is None:
        try:
            hub.check_access(source.repo_id, hub.token_of(settings))
        except ModelUnavailable as error:
            faults.append(f"model: {error.message}")
    return faults
