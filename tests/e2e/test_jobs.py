"""Jobs of a real server process: many clients, clients that go, and the terminal's lines."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from server_process import ServerProcess

from sd_api.jobs.job import ENDED

QUICK: dict[str, Any] = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 5}
LONG = QUICK | {"num_inference_steps": 500}


def post(server: ServerProcess, client: str = "test", **form: Any) -> requests.Response:
    return requests.post(f"{server.url}/txt2img", data=form, headers={"User-Agent": client}, timeout=120)


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
def server(start_server: Any) -> ServerProcess:
    started: ServerProcess = start_server(limits={"max_queued_requests": 40, "max_queued_requests_per_client": 2})
    started.wait_until("ready")
    return started


def test_fifty_clients_at_once_each_get_one_answer_and_the_right_picture(server: ServerProcess) -> None:
    expected = post(server, **QUICK).json()["images"][0]["base64"]

    def ask(number: int) -> tuple[int, str, str]:
        answer = post(server, f"client {number % 25}", **QUICK, job_id=f"crowd-{number}")
        picture = answer.json()["images"][0]["base64"] if answer.ok else ""
        return answer.status_code, state(server, f"crowd-{number}"), picture

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(ask, range(50)))
    counts = Counter((status, state) for status, state, _ in answers)
    assert set(counts) <= {(200, "finished"), (503, "unknown")}
    assert counts[200, "finished"] >= 40
    assert {picture for status, _, picture in answers if status == 200} == {expected}
    assert requests.get(f"{server.url}/jobs", timeout=10).json()["jobs"] == []


def test_a_client_that_goes_cancels_its_own_job_and_no_other(server: ServerProcess) -> None:
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(f"{server.url}/txt2img", data=LONG | {"job_id": "left"}, timeout=0.5)
        stays = other.submit(post, server, "stays", **QUICK, job_id="stays")
        assert wait_for(server, "left", *ENDED) == "cancelled"
        assert stays.result().status_code == 200
    message = requests.get(f"{server.url}/jobs/left", timeout=10).json()["job"]["message"]
    assert message == "The client closed its connection."


def test_a_job_may_outlive_its_client_where_the_configuration_says_so(start_server: Any) -> None:
    server = start_server(cancel_when_client_goes=False)
    server.wait_until("ready")
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{server.url}/txt2img", data=LONG | {"job_id": "left"}, timeout=0.3)
    assert wait_for(server, "left", *ENDED) == "finished"


def test_a_job_that_takes_too_long_is_stopped(start_server: Any) -> None:
    server = start_server(limits={"max_job_seconds": 1})
    server.wait_until("ready")
    answer = post(server, **LONG | {"num_outputs": 16})
    assert answer.status_code == 409
    assert "longer than 1 seconds" in answer.json()["message"]
    assert post(server, **QUICK).status_code == 200
    # Without a terminal there are lines, and no bar.
    assert "1 picture of 64×64" in server.output
    assert re.search(r"txt2img with .* was cancelled: This job took longer than 1 seconds", server.output)
    assert "\r" not in server.output
