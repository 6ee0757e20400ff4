"""A real server with the built-in model in this process, for the benchmarks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import uvicorn

from sd_api.app import create_app, create_event_streams
from sd_api.jobs.queue import JobQueue
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.serving.edge import SPARE_THREADS, Edge
from sd_api.serving.listener import listen
from sd_api.serving.server import make_config
from sd_api.settings import Settings
from sd_api.wiring import Services, build_services


@contextmanager
def running_queue(dtype: str) -> Iterator[JobQueue]:
    """A queue with the built-in model, on the CPU in ``dtype``; it stops when the block ends."""
    with TemporaryDirectory() as data:
        services = build_services(_settings(dtype, data))
        services.start()
        try:
            yield services.queue
        finally:
            services.stop(timeout=10)


@contextmanager
def running_server(dtype: str) -> Iterator[str]:
    """The URL of a server on a free port, on the CPU in ``dtype``; it stops when the block ends."""
    with TemporaryDirectory() as data:
        settings = _settings(dtype, data)
        with serving(settings, build_services(settings)) as url:
            yield url


@contextmanager
def serving(settings: Settings, services: Services) -> Iterator[str]:
    """The URL of a server with these services, which are started, and stopped when the block ends."""
    services.start()
    listener = listen(settings.host, settings.port)
    events = create_event_streams(settings, services)
    edge = Edge(create_app(settings, services), events, settings.limits.max_request_bytes, SPARE_THREADS)
    server = uvicorn.Server(make_config(edge, settings.trusted_proxies))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        services.stop(timeout=10)
        server.should_exit = True
        thread.join()


def _settings(dtype: str, data: str) -> Settings:
    values = {"model": str(BUILTIN_MODEL), "device": "cpu", "dtype": dtype, "port": 0, "data": data}
    return Settings.model_validate(values)
