"""The task server on many machines: real API processes and a real worker over a real Redis, that come and go."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from cluster_processes import ClusterProcesses, url_of, wait_for_workers
from forked_python import ForkedPython
from PIL import Image
from task_session import TaskSession, hear, hear_until

DOG = {"prompt": "sleep 0.1", "steps": 10, "width": 64, "height": 64, "seed": 5}
SLOW = DOG | {"prompt": "sleep 4", "steps": 40}
ENDED = ("finished", "cancelled")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    settings = {"enable_signup": True, "enable_public_token": True}
    with ClusterProcesses(tmp_path_factory.mktemp("cluster"), ForkedPython, **settings) as cluster:
        cluster.start_worker()
        yield cluster


@pytest.fixture(scope="module")
def servers(cluster: ClusterProcesses) -> tuple[str, str]:
    first, second = cluster.start_server(), cluster.start_server()
    wait_for_workers(url_of(first), 1)
    return url_of(first), url_of(second)


def kinds(events: list[dict[str, Any]], task_id: str) -> list[str]:
    return [event["event_type"] for event in events if event["task_id"] == task_id]


def test_whatever_is_done_through_one_process_is_there_in_the_other(servers: tuple[str, str]) -> None:
    here, there = servers
    fields = {"username": "ann", "password": "correct horse"}
    assert requests.post(f"{here}/user", json=fields, timeout=10).status_code == 200
    assert requests.post(f"{there}/user", json=fields, timeout=10).status_code == 409
    token = requests.post(f"{there}/token", data=fields, timeout=10).json()["access_token"]
    ann, ann_there = TaskSession(here, token), TaskSession(there, token)
    with ann.listening("&progress=1") as events, ann_there.listening() as others:
        task_id = ann_there.create(**DOG | {"prompt": "sleep 1"})
        heard = hear_until(events, *ENDED)
        documented = hear_until(others, *ENDED)
    assert kinds(documented, task_id) == ["pending", "started", "finished"]
    assert [event for event in heard if event["event_type"] != "progress"] == documented
    steps = [event["step"] for event in heard if event["event_type"] == "progress" and event["phase"] == "denoising"]
    assert steps
    assert steps == sorted(steps)
    assert ann.event(task_id) == ann_there.event(task_id) == documented[-1]
    picture = ann.call("GET", f"/blob/{documented[-1]['image']['blob_id']}").content
    assert Image.open(BytesIO(picture)).size == (64, 64)

    uploaded = ann.asked("POST", "/blob", files={"blob_data": ("x.png", picture)})
    made = ann_there.wait(ann_there.create(prompt="sleep 0", initial_image=uploaded, steps=4))
    assert made["image"]["parameters_used"]["initial_image"] == uploaded
    assert TaskSession(there).call("GET", f"/blob/{uploaded}").status_code == 404


def test_the_tasks_of_a_killed_process_are_dispatched_by_another(cluster: ClusterProcesses) -> None:
    first, second = cluster.start_server(), cluster.start_server()
    ann = TaskSession(url_of(first))
    tasks = [ann.create(**SLOW), *(ann.create(**DOG) for _ in range(3))]
    ann.wait(tasks[0], "started")
    ann = TaskSession(url_of(second), ann.token)
    heard: list[dict[str, Any]] = []
    with ann.listening("&since=0") as events:
        first.end()
        while len([event for event in heard if event["event_type"] in ENDED]) < len(tasks):
            heard.append(hear(events))
    for task_id in tasks:
        assert kinds(heard, task_id) == ["pending", "started", "finished"]
        blob_id = ann.event(task_id)["image"]["blob_id"]
        assert ann.call("GET", f"/blob/{blob_id}").headers["Content-Type"] == "image/png"
    ids = [event["event_id"] for event in heard]
    assert ids == sorted(set(ids))


def test_a_task_is_cancelled_through_any_process(servers: tuple[str, str]) -> None:
    ann = TaskSession(servers[0])
    ann_there = TaskSession(servers[1], ann.token)
    with ann_there.listening() as events:
        running = ann.create(**DOG | {"prompt": "sleep 60", "steps": 500})
        hear_until(events, "started")
        assert ann_there.call("DELETE", f"/task/{running}").status_code == 204
        assert hear(events)["reason"] == "This task was cancelled."
        # The worker is free for the next one.
        task_id = ann.create(**DOG)
        assert kinds(hear_until(events, *ENDED), task_id) == ["pending", "started", "finished"]


def test_a_restart_of_redis_costs_neither_tasks_nor_events(cluster: ClusterProcesses, servers: tuple[str, str]) -> None:
    ann = TaskSession(servers[0])
    with TaskSession(servers[1], ann.token).listening() as events:
        tasks = [ann.create(**SLOW), ann.create(**DOG)]
        heard = hear_until(events, "started")
        cluster.redis.kill()
        cluster.redis.start()
        while len(heard) < 6:
            heard.append(hear(events))
    for task_id in tasks:
        assert kinds(heard, task_id) == ["pending", "started", "finished"]
