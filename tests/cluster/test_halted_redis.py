"""A server whose Redis does not answer: it refuses at once, and says that it is there."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis_server import RedisServer
from running_server import serving
from task_session import TaskSession

from sd_api.cluster import connection
from sd_api.settings import Settings
from sd_api.wiring import build_services

SOCKET_TIMEOUT = 1.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT", SOCKET_TIMEOUT)


@pytest.fixture
def session(redis_server: RedisServer, tmp_path: Path, impatient: None) -> Iterator[TaskSession]:
    """One who speaks to a server without a worker."""
    values = {"model": "nobody/nothing", "enable_public_token": True, "port": 0, "data": tmp_path}
    settings = Settings.model_validate({**values, "cluster": {"redis_url": redis_server.url}})
    with serving(settings, build_services(settings)) as url:
        yield TaskSession(url)


def test_a_halted_redis_keeps_no_thread_for_long(session: TaskSession, redis_server: RedisServer) -> None:
    assert session.asked("GET", "/tasks") == {"tasks": []}
    answers: list[requests.Response] = []
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            answers.append(session.call("GET", "/tasks"))

    pollers = [threading.Thread(target=poll) for _ in range(6)]
    redis_server.pause()
    try:
        started = time.monotonic()
        for poller in pollers:
            poller.start()
        pings = []
        while time.monotonic() < started + 2 * SOCKET_TIMEOUT:
            asked = time.monotonic()
            assert requests.get(f"{session.url}/ping", timeout=10).status_code == 200
            pings.append(time.monotonic() - asked)
        over.set()
        for poller in pollers:
            poller.join()
    finally:
        redis_server.resume()
    assert max(pings) < SOCKET_TIMEOUT / 2
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "5")}
    # Only the first ones wait.
    assert len(answers) > 20
    deadline = time.monotonic() + 10
    while session.call("GET", "/tasks").status_code != 200:
        assert time.monotonic() < deadline
