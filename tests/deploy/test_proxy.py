"""The reverse proxy's file, with a real Caddy between clients and a real server."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from redis_server import free_port
from running_server import serving
from scripted import ScriptedEngine
from task_calls import QUICK
from task_session import TaskSession, hear_until

from sd_api.settings import Settings
from sd_api.wiring import build_services

CADDY = shutil.which("caddy")

pytestmark = pytest.mark.skipif(CADDY is None, reason="there is no Caddy here")


@pytest.fixture(scope="module")
def site(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., Settings]
) -> Iterator[str]:
    """The address of the proxy; its server knows it, and that it is one."""
    assert CADDY is not None
    folder, port = str(tmp_path_factory.mktemp("caddy")), free_port()
    url = f"http://localhost:{port}"
    settings = make_settings(trusted_proxies=["127.0.0.1"], enable_public_token=True)
    may_load = threading.Event()
    may_load.set()
    with serving(settings, build_services(settings, lambda: ScriptedEngine(may_load))) as server:
        environment = os.environ | {
            "SITE": url,
            "SERVERS": server.removeprefix("http://"),
            "CADDY_ADMIN": f"localhost:{free_port()}",
            "HOME": folder,
            "XDG_DATA_HOME": folder,
            "XDG_CONFIG_HOME": folder,
        }
        command = [CADDY, "run", "--adapter", "caddyfile", "--config", str(repository / "deploy" / "Caddyfile")]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as proxy:
            try:
                wait_for(url)
                yield url
            finally:
                proxy.kill()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if requests.get(f"{url}/ping", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, "the proxy does not answer"
        time.sleep(0.05)


def test_pictures_and_the_studio_come_through(site: str) -> None:
    form = {"prompt": "a dog", "width": 64, "height": 64}
    assert requests.post(f"{site}/txt2img", data=form, timeout=30).json()["status"] == "success"
    # A page of the site itself, as a browser would send it.
    assert requests.post(f"{site}/txt2img", data=form, headers={"Origin": site}, timeout=30).ok
    assert requests.get(f"{site}/", timeout=10).ok


def test_a_websocket_hears_while_it_happens(site: str) -> None:
    ann = TaskSession(site)
    with ann.listening() as connection:
        ann.create(**QUICK)
        kinds = [event["event_type"] for event in hear_until(connection, "finished")]
    assert kinds == ["pending", "started", "finished"]


def test_server_sent_events_are_not_held_back(site: str) -> None:
    ann = TaskSession(site)
    stream = f"{site}/events/stream?token={ann.token}"
    with requests.get(stream, stream=True, timeout=30) as answer:
        ann.create(**QUICK)
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if '"finished"' in line:
                break
        else:
            pytest.fail("the stream ended")


def test_what_is_for_who_runs_it_stays_inside(site: str) -> None:
    for path in ("/metrics", "/workers"):
        assert requests.get(site + path, timeout=10).status_code == 404


def test_what_a_client_claims_to_be_is_not_believed(site: str) -> None:
    def login(address: str) -> int:
        form = {"username": "ann", "password": "wrong"}
        headers = {"X-Forwarded-For": address}
        return requests.post(f"{site}/token", data=form, headers=headers, timeout=30).status_code

    statuses = [login("192.0.2.1") for _ in range(8)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    # Believed, this would be another client, with attempts of its own.
    assert login("192.0.2.2") == 429
