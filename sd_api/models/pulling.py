"""Downloads a model of the hub without loading it, in the precision in which this machine would load it."""

from sd_api.models import hub
from sd_api.models.download_progress import DownloadWatcher, watched_downloads
from sd_api.models.libraries import import_libraries
from sd_api.models.on_disk import bytes_on_disk
from sd_api.models.sources import HubModel
from sd_api.settings import Settings


def pull(source: HubModel, settings: Settings, watcher: DownloadWatcher) -> int:
    """Download a model unless it is complete on this machine; what an earlier attempt has left is gone on with.

    Args:
        source: the model.
        settings: with the device, the token and the limits.
        watcher: is called with the bytes that have arrived and the total; may raise JobCancelled.

    Returns:
        The bytes that it takes on the disk.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
        JobCancelled: the watcher has raised it.
    """
    import_libraries()
    # Imported here, because it takes seconds.
    from sd_api.models.device import HALF_PRECISIONS, choose_device

    half = choose_device(settings.device, settings.dtype).torch_dtype in HALF_PRECISIONS
    if hub.cached(source.repo_id, half=half) is None:
        with watched_downloads(watcher):
            hub.download(source.repo_id, hub.token_of(settings), settings.limits, half=half)
    return bytes_on_disk(source) or 0
