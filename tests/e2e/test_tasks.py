"""The task server's whole way, over the network, and through kills."""

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import kills
import pytest
import requests
from forked_python import ForkedPython, output_of
from PIL import Image
from server_process import ServerProcess
from task_calls import QUICK
from task_session import LONG, TaskSession
from websockets.sync.client import ClientConnection, connect


def test_a_client_of_the_original_task_server_runs(fork_server: Any) -> None:
    """Public token, websocket, task, events, blob, upload, image to image: as the original's own clients do it."""
    server: ServerProcess = fork_server(enable_public_token=True, original_events=True)
    server.wait_until("ready")
    url = server.url
    token = requests.post(f"{url}/token/all", timeout=10).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    with connect(f"{url.replace('http', 'ws', 1)}/events?token={token}", proxy=None) as events:
        parameters = {"prompt": "corgi with a top hat", "negative_prompt": None, "steps": 2} | {
            "model_id": "CompVis/stable-diffusion-v1-4",
            "model_provider": "huggingface",
            "guidance": 7.5,
            "scheduler": "plms",
            "safety_filter": False,
            "width": 64,
            "height": 64,
        }
        task_id = requests.post(f"{url}/task", json=parameters, headers=headers, timeout=10).json()
        received = original_events(events)
        assert [event["event_type"] for event in received] == ["pending", "started", "finished"]
        assert {event["task_id"] for event in received} == {task_id}
        blob_id = received[-1]["image"]["blob_id"]
        used = received[-1]["image"]["parameters_used"]
        assert (used["prompt"], used["model_provider"]) == ("corgi with a top hat", "huggingface")
        assert received[-1] == requests.get(f"{url}/task/{task_id}", headers=headers, timeout=10).json()

        picture = requests.get(f"{url}/blob/{blob_id}", headers=headers, timeout=10)
        assert picture.headers["Content-Type"] == "image/png"
        assert Image.open(BytesIO(picture.content)).size == (64, 64)

        uploaded = requests.post(
            f"{url}/blob", files={"blob_data": ("x.png", picture.content)}, headers=headers, timeout=10
        ).json()
        parameters = {"prompt": "a cat", "initial_image": uploaded, "strength": 0.8, "steps": 4}
        requests.post(f"{url}/task", json=parameters, headers=headers, timeout=10)
        last = original_events(events)[-1]
    assert last["image"]["parameters_used"]["initial_image"] == uploaded


def original_events(connection: ClientConnection) -> list[dict[str, Any]]:
    """The events of the next task to end; each message is JSON text in a JSON string."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event_type"] not in ("finished", "cancelled"):
        text = json.loads(connection.recv(timeout=30))
        assert isinstance(text, str)
        events.append(json.loads(text))
    return events


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def test_what_was_under_way_at_ctrl_c_is_done_after_the_next_start(fork_server: Any, data: str) -> None:
    config: dict[str, Any] = {"enable_public_token": True}
    server = fork_server("--data", data, **config)
    server.wait_until("ready")
    ann = TaskSession(server.url)
    running, waiting = ann.create(**QUICK | {"steps": 150}), ann.create(**QUICK)
    ann.wait(running, "started")
    assert server.stop() == 0

    again = TaskSession(fork_server("--data", data, **config).url, ann.token)
    assert again.wait(running)["event_type"] == "finished"
    assert again.wait(waiting)["event_type"] == "finished"


def test_a_running_task_can_be_cancelled_by_the_next_start(fork_server: Any, data: str) -> None:
    config: dict[str, Any] = {"enable_public_token": True, "interrupted_tasks": "cancel"}
    server = fork_server("--data", data, **config)
    server.wait_until("ready")
    ann = TaskSession(server.url)
    running = ann.create(**LONG)
    ann.wait(running, "started")
    server.kill()

    again = TaskSession(fork_server("--data", data, **config).url, ann.token)
    assert again.event(running)["reason"] == "The server ended while this task was running."


def test_two_servers_cannot_work_with_one_folder(fork_server: Any, data: str, repository: Path) -> None:
    fork_server("--data", data)
    command = [sys.executable, str(repository / "server.py"), "--data", data, "--port", "0", "--demo"]
    status, output = output_of(command)
    assert status == 1
    assert any(line.startswith("data: another server works with") for line in output.splitlines())


def test_nothing_that_was_acknowledged_is_lost_by_kills() -> None:
    result = kills.run(rounds=1, longest=2, popen=ForkedPython)
    assert result["integrity"] == "ok"
    assert result["finished"] > 0
    assert result["finished"] + result["cancelled"] == result["tasks"]
    for fault in ("missing", "cancelled_by_nobody", "cancelled_and_not", "missing_blobs", "ended_twice"):
        assert result[fault] == 0, result
    assert result["stray_blobs"] == result["missing_users"] == 0
