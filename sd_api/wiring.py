"""From settings to services: the only place that chooses implementations."""

import logging
import os
import sys
import warnings
from dataclasses import dataclass

from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.failures import RecentFailures
from sd_api.jobs.local import LocalQueue
from sd_api.jobs.terminal import TerminalProgress
from sd_api.models.sources import parse_source
from sd_api.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What the dialects work with."""

    queue: LocalQueue
    failures: RecentFailures


def build_services(settings: Settings) -> Services:
    """Make the services; ``services.queue.start()`` begins to load the model."""
    label = parse_source(settings.model).label
    failures = RecentFailures()
    queue = LocalQueue(
        make_engine=lambda: build_engine(settings),
        loading=EngineStatus("loading", label),
        limits=settings.limits,
        listeners=(TerminalProgress(label), failures),
    )
    return Services(queue, failures)


def build_engine(settings: Settings) -> Engine:
    """Make the engine on the device that the settings ask for; its model is not loaded yet.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    prepare_libraries()
    # Imported here: it takes seconds, and the port should be open by then.
    from sd_api.engine.engine import DiffusersEngine
    from sd_api.models.compiled import keep_compiled_code
    from sd_api.models.device import choose_device
    from sd_api.models.library import ModelLibrary
    from sd_api.models.memory import keep_freed_memory

    device = choose_device(settings.device, settings.dtype)
    if device.device.type == "cpu":
        keep_freed_memory()
    if settings.compile:
        keep_compiled_code()
    log.info("Device: %s, %s", device.device, device.device_reason)
    log.info("Precision: %s, %s", device.dtype, device.dtype_reason)
    return DiffusersEngine(ModelLibrary(settings, device), device, parse_source(settings.model).label)


def prepare_libraries() -> None:
    """Import the libraries, and keep what they say to programmers from who runs this server.

    Some progress bars stay.
    """
    # Read on import. What Apple's GPUs cannot do is done on the processor, instead of failing.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    import diffusers
    import transformers
    from huggingface_hub.utils.logging import set_verbosity_error
    from huggingface_hub.utils.tqdm import enable_progress_bars

    set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", module="huggingface_hub")
    # One bar for a download is enough, and one for each pipeline; this one counts the tensors of each of its
    # parts, and takes all bars of downloads with it.
    transformers.logging.disable_progress_bar()
    enable_progress_bars("huggingface_hub.snapshot_download.transfer")
    if not sys.stderr.isatty():
        diffusers.utils.logging.disable_progress_bar()
