"""The check that containers are watched with, against a real server in each state."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis_server import free_port
from running_server import serving
from scripted import scripted_server

from sd_api.errors import ModelUnavailable
from sd_api.generation.engine import Engine
from sd_api.settings import Settings
from sd_api.wiring import build_services


@pytest.fixture
def check(repository: Path) -> Callable[[int | None], int]:
    def run(port: int | None) -> int:
        script = str(repository / "deploy" / "healthcheck.py")
        # A proxy that is not there, so that the check fails if it goes through one.
        environment = {"http_proxy": "http://127.0.0.1:9"}
        return subprocess.run([sys.executable, script, str(port)], env=environment, timeout=60, check=False).returncode

    return run


def no_engine() -> Engine:
    raise ModelUnavailable("There is no such model.")


@pytest.mark.parametrize("require_token", [False, True])
def test_a_server_that_loads_or_is_ready_is_healthy(
    check: Callable[[int | None], int], make_settings: Callable[..., Settings], require_token: bool
) -> None:
    with scripted_server(make_settings(require_token=require_token)) as (url, finish_loading):
        assert check(urlsplit(url).port) == 0
        finish_loading()
        assert check(urlsplit(url).port) == 0


def test_a_server_without_its_model_is_not(
    check: Callable[[int | None], int], make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings()
    services = build_services(settings, no_engine)
    with serving(settings, services) as url:
        while services.queue.status().state != "failed":
            pass
        assert check(urlsplit(url).port) == 1


def test_no_server_is_not(check: Callable[[int | None], int]) -> None:
    assert check(free_port()) == 1
