"""The command line of a worker: read the settings, make the engine on one device, take jobs until it is stopped."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from sd_api import __version__
from sd_api.allocator import share_one_arena
from sd_api.errors import ConfigurationError
from sd_api.starting import (
    PATIENCE,
    check_device,
    config_option,
    configure_logging,
    demo_option,
    device_option,
    exit_at_faults,
    read_settings,
    stop_signals,
)

if TYPE_CHECKING:
    from sd_api.jobs.cluster.worker import ClusterWorker

log = logging.getLogger("sd_api")


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@config_option
@device_option
@demo_option
@click.version_option(__version__, prog_name="sd-api-worker")
def main(config: Path, device: str | None, demo: bool) -> None:
    """Make pictures for all servers that share a Redis with this worker; start one for each device."""
    share_one_arena()
    write_last_lines = configure_logging()
    with exit_at_faults():
        settings = read_settings(config, {"device": device}, demo=demo)
        if settings.cluster is None:
            raise ConfigurationError(
                [
                    "A worker must know the Redis of its server: set REDIS_HOST, or "
                    '"cluster": {"redis_url": …} in the configuration.'
                ]
            )
        log.info("sd-api-server %s: a worker is starting", __version__)
        # Imported here, because it takes a second, or many: by then there is a line to read.
        from sd_api.wiring import build_worker

        check_device(settings)
        worker = build_worker(settings, settings.cluster)

    run(worker, write_last_lines)


def run(worker: "ClusterWorker", before_end: Callable[[], None]) -> NoReturn:
    """Let a worker work until Ctrl-C or a request to terminate; then the process ends.

    Args:
        worker: which is not started yet.
        before_end: called last.
    """
    stop = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    log.info("Worker %s", worker.id)
    worker.start()
    # With a timeout, because on Windows an endless wait hears no Ctrl-C.
    while not stop.wait(1.0):
        pass
    worker.stop(timeout=PATIENCE)
    log.info("Stopped.")
    # A thread inside torch cannot be interrupted, and Python would wait for it.
    before_end()
    os._exit(0)


if __name__ == "__main__":
    main()
