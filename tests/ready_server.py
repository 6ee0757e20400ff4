"""A real server in this process, which is there sooner than a process of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from running_server import serving

from sd_api.settings import Settings
from sd_api.wiring import build_services


@contextmanager
def ready_server(settings: Settings) -> Iterator[str]:
    """The URL of a server that has its model; it stops when the block ends."""
    services = build_services(settings)
    with serving(settings, services) as url:
        deadline = time.monotonic() + 120
        while services.queue.status().state != "ready":
            assert time.monotonic() < deadline, services.queue.status()
            time.sleep(0.02)
        yield url
