"""Jobs of a real server process: many clients, clients that go, and the terminal's lines."""

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from server_process import ServerProcess

from sd_api.jobs.job import ENDED

QUICK: dict[str, Any] = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 5}
LONG = QUICK | {"num_inference_steps": 500}


def post(server: ServerProcess, client: str = "10.0.0.1", **form: Any) -> requests.Response:
    return requests.post(f"{server.url}/txt2img", data=form, headers={"X-Forwarded-For": client}, timeout=120)


def state(server: ServerProcess, job_id: str) -> str:
    answer = requests.get(f"{server.url}/jobs/{job_id}", timeout=10)
    found: str = answer.json()["job"]["state"] if answer.ok else "unknown"
    return found


def wait_for(server: ServerProcess, job_id: str, *states: str) -> str:
    deadline = time.monotonic() + 60
    while (found := state(server, job_id)) not in states:
        assert time.monotonic() < deadline, f"{job_id} is still {found}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def server(fork_server: Any) -> ServerProcess:
    started: ServerProcess = fork_server(
        limits={"max_queued_requests": 40, "max_queued_requests_per_client": 2},
        trusted_proxies=["127.0.0.1"],
        share_jobs=True,
    )
    started.wait_until("ready")
    return started


@pytest.fixture(scope="module")
def expected(server: ServerProcess) -> str:
    """The picture of a server that has done nothing else, as base64."""
    picture: str = post(server, **QUICK).json()["images"][0]["base64"]
    return picture


def test_fifty_clients_at_once_each_get_one_answer_and_the_right_picture(server: ServerProcess, expected: str) -> None:
    def ask(number: int) -> tuple[int, str, str]:
        answer = post(server, f"10.0.0.{number % 25}", **QUICK, job_id=f"crowd-{number}")
        picture = answer.json()["images"][0]["base64"] if answer.ok else ""
        return answer.status_code, state(server, f"crowd-{number}"), picture

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(ask, range(50)))
    counts = Counter((status, state) for status, state, _ in answers)
    assert set(counts) <= {(200, "finished"), (503, "unknown")}
    assert counts[200, "finished"] >= 40
    assert {picture for status, _, picture in answers if status == 200} == {expected}
    assert requests.get(f"{server.url}/jobs", timeout=10).json()["jobs"] == []


NUMBERS = itertools.count()

# What becomes of a job, and after how many seconds; one takes about 0.2 on its own.
FATE = st.tuples(st.sampled_from(["stays", "cancelled", "left"]), st.floats(0.01, 0.6))


@settings(max_examples=12, deadline=None)
@given(fates=st.lists(FATE, min_size=1, max_size=6))
def test_whenever_jobs_are_stopped_each_ends_once_and_the_next_picture_is_right(
    server: ServerProcess, expected: str, fates: list[tuple[str, float]]
) -> None:
    def live(fate: str, seconds: float) -> tuple[str, int | None]:
        job_id = f"stopped-{next(NUMBERS)}"
        if fate == "cancelled":
            threading.Timer(seconds, requests.post, [f"{server.url}/jobs/{job_id}/cancel"], {"timeout": 60}).start()
        headers = {"X-Forwarded-For": f"10.0.1.{next(NUMBERS) % 200}"}
        form = QUICK | {"num_inference_steps": 20, "job_id": job_id}
        timeout = seconds if fate == "left" else 60
        try:
            status = requests.post(f"{server.url}/txt2img", data=form, headers=headers, timeout=timeout).status_code
        except requests.exceptions.ReadTimeout:
            status = None
        return job_id, status

    with ThreadPoolExecutor(len(fates)) as clients:
        answers = list(clients.map(live, *zip(*fates, strict=True)))
    # A client that leaves before its request has been read whole has asked for nothing.
    ends = {
        job_id: wait_for(server, job_id, *ENDED, *(["unknown"] if fate == "left" else []))
        for (job_id, _), (fate, _) in zip(answers, fates, strict=True)
    }
    for (job_id, status), (fate, _) in zip(answers, fates, strict=True):
        assert status in {"stays": (200,), "cancelled": (200, 409), "left": (200, None)}[fate]
        if status is not None:
            assert ends[job_id] == {200: "finished", 409: "cancelled"}[status]
    deadline = time.monotonic() + 60
    while requests.get(f"{server.url}/jobs", timeout=10).json()["jobs"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert post(server, **QUICK).json()["images"][0]["base64"] == expected


def test_a_client_that_goes_cancels_its_own_job_and_no_other(server: ServerProcess) -> None:
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(f"{server.url}/txt2img", data=LONG | {"job_id": "left"}, timeout=0.5)
        stays = other.submit(post, server, "10.0.0.2", **QUICK, job_id="stays")
        assert wait_for(server, "left", *ENDED) == "cancelled"
        assert stays.result().status_code == 200
    message = requests.get(f"{server.url}/jobs/left", timeout=10).json()["job"]["message"]
    assert message == "The client closed its connection."


def test_a_job_may_outlive_its_client_where_the_configuration_says_so(fork_server: Any) -> None:
    server = fork_server(cancel_when_client_goes=False)
    server.wait_until("ready")
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{server.url}/txt2img", data=LONG | {"job_id": "left", "num_inference_steps": 200}, timeout=0.3)
    assert wait_for(server, "left", *ENDED) == "finished"


def test_a_job_that_takes_too_long_is_stopped(fork_server: Any) -> None:
    server = fork_server(limits={"max_job_seconds": 1})
    server.wait_until("ready")
    answer = post(server, **LONG | {"num_outputs": 16})
    assert answer.status_code == 409
    assert "longer than 1 seconds" in answer.json()["message"]
    assert post(server, **QUICK).status_code == 200
    # Without a terminal there are lines, and no bar.
    server.wait_for_line("1 picture of 64×64")
    server.wait_for_line("txt2img with .* was cancelled: This job took longer than 1 seconds")
    assert "\r" not in server.output
