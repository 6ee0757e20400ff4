"""From settings to services: the only place that chooses implementations."""

import logging
import os
import sys
from dataclasses import dataclass

from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.local import LocalQueue
from sd_api.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What the dialects work with."""

    queue: LocalQueue


def build_services(settings: Settings) -> Services:
    """Make the services; ``services.queue.start()`` begins to load the model."""
    return Services(
        LocalQueue(
            make_engine=lambda: build_engine(settings),
            loading=EngineStatus("loading", settings.model),
            max_waiting=settings.limits.max_queued_requests,
        )
    )


def build_engine(settings: Settings) -> Engine:
    """Make the engine on the device that the settings ask for; its model is not loaded yet.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    _quiet_libraries()
    # Imported here: it takes seconds, and the port should be open by then.
    from sd_api.engine.engine import DiffusersEngine
    from sd_api.models.device import choose_device
    from sd_api.models.library import ModelLibrary

    device = choose_device(settings.device, settings.dtype)
    log.info("Device: %s, %s", device.device, device.device_reason)
    log.info("Precision: %s, %s", device.dtype, device.dtype_reason)
    return DiffusersEngine(ModelLibrary(settings, device), device, settings.model)


def _quiet_libraries() -> None:
    """Keep what the libraries say to programmers from who runs this server; their progress bars stay."""
    # Read on import, as the first message comes with it.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    import diffusers
    import transformers
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # One bar for each pipeline is enough; this one counts the tensors of each of its parts.
    transformers.logging.disable_progress_bar()
    if not sys.stderr.isatty():
        diffusers.utils.logging.disable_progress_bar()
        disable_progress_bars()
