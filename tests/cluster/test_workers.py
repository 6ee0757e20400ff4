"""Workers that are killed, halted, stopped and too new, and a Redis that goes and comes back, all as real processes."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cluster_processes import ClusterProcesses, Process, form, url_of, wait_for_workers
from forked_python import ForkedPython

PATIENCE = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    settings = {"worker_timeout": 3, "tries": 2}
    with ClusterProcesses(tmp_path_factory.mktemp("cluster"), ForkedPython, cluster=settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def servers(cluster: ClusterProcesses) -> list[str]:
    """Two of them; what one has accepted, the other knows."""
    return [url_of(server) for server in [cluster.start_server(), cluster.start_server()]]


@pytest.fixture(scope="module")
def left() -> list[Process]:
    """The workers that the last test used."""
    return []


@pytest.fixture
def workers(cluster: ClusterProcesses, servers: list[str], left: list[Process]) -> list[Process]:
    """Two workers; those that one test has not ended serve the next as well."""
    left[:] = [worker for worker in left if worker.process.poll() is None]
    left += [cluster.start_worker() for _ in range(2 - len(left))]
    ids = {worker.wait().group(1) for worker in left}
    # Neither fewer nor one that was killed and is still listed.
    wait_until(lambda: {found["id"] for found in about_workers(servers[0]) if found["state"] == "ready"} == ids)
    return list(left)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def about_workers(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{url}/workers", timeout=30).json()["workers"]
    return found


def about(url: str, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = requests.get(f"{url}/jobs/{job_id}", timeout=30).json()["job"]
    return job


def submit(url: str, prompt: str, **fields: Any) -> str:
    answer = requests.post(f"{url}/txt2img", data=form(prompt, wait="false", **fields), timeout=30)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job"]["id"]
    return job_id


def ended(url: str, job_id: str) -> dict[str, Any]:
    wait_until(lambda: about(url, job_id)["state"] in ("finished", "failed", "cancelled"))
    return about(url, job_id)


def worker_of(url: str, workers: list[Process], job_id: str) -> Process:
    """Who makes a job, once somebody does."""
    by_id = {worker.wait().group(1): worker for worker in workers}
    wait_until(lambda: any(job_id in worker["jobs"] for worker in about_workers(url)))
    (made_by,) = (worker["id"] for worker in about_workers(url) if job_id in worker["jobs"])
    return by_id[made_by]


def pictures(url: str, job_id: str) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = requests.get(f"{url}/jobs/{job_id}/result", timeout=30).json()["images"]
    return images


def test_what_one_server_accepts_another_tells(servers: list[str], workers: list[Process]) -> None:
    job_id = submit(servers[0], "sleep 0.1", seed=5)
    assert ended(servers[1], job_id)["state"] == "finished"
    assert [image["seed"] for image in pictures(servers[1], job_id)] == [5]


def test_a_killed_workers_job_is_made_by_another(servers: list[str], workers: list[Process]) -> None:
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(requests.post, f"{servers[0]}/txt2img", data=form("sleep 2", job_id="killed"))
        worker_of(servers[1], workers, "killed").end()
        answer = waiting.result(timeout=PATIENCE)
    assert answer.json()["images"][0]["mimetype"] == "image/png"
    assert about(servers[1], "killed")["state"] == "finished"
    wait_until(lambda: len(about_workers(servers[0])) == 1)


def test_a_halted_workers_job_is_made_by_another_and_once_only(servers: list[str], workers: list[Process]) -> None:
    job_id = submit(servers[0], "sleep 2", steps=50)
    halted = worker_of(servers[0], workers, job_id)
    halted.send(signal.SIGSTOP)
    job = ended(servers[0], job_id)
    assert job["state"] == "finished"
    halted.send(signal.SIGCONT)
    # It has noticed, and is of use again.
    wait_for_workers(servers[0], 2)
    others = [submit(servers[0], "sleep 0.5") for _ in range(2)]
    assert {ended(servers[0], other)["state"] for other in others} == {"finished"}
    assert about(servers[0], job_id) == job


def test_a_stopped_worker_gives_its_job_back(servers: list[str], workers: list[Process]) -> None:
    job_id = submit(servers[0], "sleep 1")
    stopped = worker_of(servers[0], workers, job_id)
    stopped.end(signal.SIGTERM)
    assert "Stopped." in stopped.output
    assert ended(servers[0], job_id)["state"] == "finished"


def test_a_job_that_kills_its_workers_fails_with_that_reason(servers: list[str], workers: list[Process]) -> None:
    job_id = submit(servers[0], "die")
    job = ended(servers[0], job_id)
    assert job["state"] == "failed"
    assert "died, 2 times" in job["message"]
    answer = requests.get(f"{servers[1]}/jobs/{job_id}/result", timeout=30)
    assert (answer.status_code, answer.json()["message"]) == (500, job["message"])


def test_a_redis_that_is_killed_and_comes_back_costs_no_job(
    cluster: ClusterProcesses, servers: list[str], workers: list[Process]
) -> None:
    job_ids = [submit(servers[0], "sleep 1") for _ in range(4)]
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(requests.post, f"{servers[1]}/txt2img", data=form("sleep 1", job_id="waits"))
        wait_until(lambda: any(about(servers[0], job_id)["state"] == "running" for job_id in job_ids))
        cluster.redis.kill()
        cluster.redis.start()
        assert waiting.result(timeout=PATIENCE).status_code == 200
    assert {ended(servers[1], job_id)["state"] for job_id in job_ids} == {"finished"}


def test_a_client_that_goes_ends_its_job_on_the_worker(servers: list[str], workers: list[Process]) -> None:
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{servers[0]}/txt2img", data=form("sleep 60", steps=300, job_id="left"), timeout=(10, 1))
    assert ended(servers[1], "left")["message"] == "The client closed its connection."
    wait_until(lambda: not any(worker["busy"] for worker in about_workers(servers[1])))


def test_a_worker_of_another_version_refuses_and_says_why(
    cluster: ClusterProcesses, servers: list[str], left: list[Process]
) -> None:
    for other in left:
        other.end(signal.SIGTERM)
    wait_until(lambda: not about_workers(servers[0]))
    worker = cluster.start_worker(PRETENDED_VERSION="9.9")
    wait_for_workers(servers[0], 1)
    job = ended(servers[0], submit(servers[0], "sleep 0"))
    assert job["state"] == "failed"
    assert "the workers are of version 9.9" in job["message"]
    health = requests.get(f"{servers[0]}/health", timeout=30).json()
    assert "another version (9.9)" in health["message"]
    worker.end(signal.SIGTERM)
