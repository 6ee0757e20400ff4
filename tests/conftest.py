"""What the tests share: the built-in model, run for real, once for the whole session."""

import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from redis_server import RedisServer
from server_process import ServerProcess

from sd_api.accounts import passwords
from sd_api.settings import Settings

# What imports torch is imported where it is used: xdist reads this file before it starts its workers.
if TYPE_CHECKING:
    from sd_api.wiring import Services

# One thread, here and in the servers that the tests start: several wait for each other for most of the time where
# other things keep the cores busy. An empty value counts as none: libgomp warns of it and takes every core.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"
SettingsFactory = Callable[..., Settings]
StartServer = Callable[..., ServerProcess]

# Files that take long for one test.
FIRST = {"test_contract.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the workers begin with the files of many tests: a long one that came last would leave the other idle."""
    if hasattr(config, "workerinput"):
        count = Counter(item.path for item in items)
        items.sort(key=lambda item: (item.path.name not in FIRST, -count[item.path]))


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> None:
    """Keep the collector from what was there before: it would look at half a million objects of the libraries.

    It does so each time that memory runs out, a model is loaded or leaves, and now and then of its own accord.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hash passwords at little cost in this process: whatever has accounts hashes one when it is made."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(passwords, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=1024))
        yield


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> SettingsFactory:
    """Settings for the built-in model, in fp32 so that pixels can be compared to the last bit."""

    from tiny_model import tiny_model

    def make(**changes: object) -> Settings:
        values = {"model": str(tiny_model()), "device": "cpu", "dtype": "fp32", "port": 0, **changes}
        values.setdefault("data", tmp_path_factory.mktemp("data"))
        return Settings.model_validate(values)

    return make


@pytest.fixture(scope="session")
def settings(make_settings: SettingsFactory) -> Settings:
    """A server with the built-in model and two custom ones, one of which needs no safety checker."""
    from tiny_model import tiny_model

    custom = {"model_path": str(tiny_model()), "ui_label": "My First Model", "url_path": "my_first_model"}
    return make_settings(
        hf_token="hf_" + "secret" * 5,
        custom_models=[
            custom,
            custom | {"url_path": "folder/other", "ui_label": "Other", "requires_safety_checker": False},
        ],
        limits={"max_num_outputs": 3, "max_width": 256, "max_height": 256, "max_image_pixels": 256 * 256},
        enable_signup=True,
        enable_public_token=True,
        any_model=False,
    )


@pytest.fixture(scope="session")
def services(settings: Settings) -> Iterator["Services"]:
    """Running services: a queue whose engine has the built-in model loaded."""
    from sd_api.wiring import build_services

    services = build_services(settings)
    services.start()
    # The engine's thread imports libraries, and with them their loggers, over which pytest iterates.
    while services.queue.status().state == "loading":
        time.sleep(0.05)
    yield services
    assert services.stop(timeout=60)


@pytest.fixture(scope="session")
def app(settings: Settings, services: "Services") -> Flask:
    """The application over the running services."""
    from sd_api.app import create_app

    return create_app(settings, services)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that calls the application without a network."""
    return app.test_client()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the whole project."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of its own for each file of tests."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def write_config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the configuration file of a server with the tiny model."""
    from tiny_model import tiny_model

    def write(**config: object) -> Path:
        path = tmp_path_factory.mktemp("server") / "config.json"
        values = {"model": str(tiny_model()), "port": 0, "device": "cpu", "dtype": "fp32", "data": "data"}
        path.write_text(json.dumps(values | config), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def begin_server(repository: Path, write_config: Callable[..., Path]) -> Iterator[StartServer]:
    """Start a server with this configuration; whatever is started is stopped at the end."""
    started: list[ServerProcess] = []

    def begin(
        popen: Any, *arguments: str, environment: dict[str, str] | None = None, **config: object
    ) -> ServerProcess:
        # No network of its own accord: a test that needs the hub says so.
        offline = {"HF_HUB_OFFLINE": "1"} | (environment or {})
        command = [sys.executable, str(repository / "server.py"), "--config", str(write_config(**config)), *arguments]
        started.append(ServerProcess(command, offline, popen=popen))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def start_server(begin_server: StartServer) -> StartServer:
    """Start a server as a user does."""
    return partial(begin_server, subprocess.Popen)


@pytest.fixture(scope="session")
def fork_server(begin_server: StartServer) -> StartServer:
    """Start a server that is ready at once, for tests of what it does from then on."""
    from forked_python import ForkedPython

    return partial(begin_server, ForkedPython)
