"""Servers for the tests that look at them from outside."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess

from sd_api.models.sources import BUILTIN_MODEL

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def start_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start a server with this configuration; whatever is started is stopped at the end."""
    started: list[ServerProcess] = []

    def start(*arguments: str, environment: dict[str, str] | None = None, **config: object) -> ServerProcess:
        path = tmp_path_factory.mktemp("server") / "config.json"
        values = {"model": str(BUILTIN_MODEL), "port": 0, "device": "cpu", "dtype": "fp32"}
        path.write_text(json.dumps(values | config), encoding="utf-8")
        # No network of its own accord: a test that needs the hub says so.
        offline = {"HF_HUB_OFFLINE": "1"} | (environment or {})
        server = ServerProcess(repository, "--config", str(path), *arguments, environment=offline)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> ServerProcess:
    """A server that is ready, for every test that leaves it as it was."""
    custom = {"model_path": str(BUILTIN_MODEL), "ui_label": "My First Model", "url_path": "my_first_model"}
    server = start_server(
        custom_models=[custom],
        allowed_hosts=["studio.example"],
        allowed_origins=["https://friend.example"],
        limits={"max_request_bytes": 3_000_000, "max_queued_requests": 2},
    )
    server.wait_until("ready")
    return server
