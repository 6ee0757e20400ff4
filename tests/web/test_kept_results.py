"""Jobs that are sent without waiting: their answers, and how long those are kept."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from requested import request

from sd_api.errors import JobCancelled, OutOfMemory
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import ENDED, Job
from sd_api.jobs.kept import KeptOutcomes

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "width": 64, "height": 64}


def send(client: FlaskClient, **form: Any) -> str:
    response = client.post("/txt2img", data={**FORM, "wait": "false", **form})
    assert response.status_code == 202
    job = response.get_json()["job"]
    assert job["state"] in ("queued", "running")
    assert response.headers["X-Job-Id"] == job["id"]
    return str(job["id"])


def wait_until_ended(client: FlaskClient, job_id: str) -> None:
    deadline = time.monotonic() + 30
    while client.get(f"/jobs/{job_id}").get_json()["job"]["state"] not in ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_result_is_what_the_answer_would_have_been(client: FlaskClient) -> None:
    job_id = send(client)
    wait_until_ended(client, job_id)
    for _ in range(2):
        response = client.get(f"/jobs/{job_id}/result")
        assert response.status_code == 200
        assert response.get_json() == client.post("/txt2img", data=FORM).get_json()


def test_before_the_end_there_is_no_result_and_after_cancelling_neither(client: FlaskClient) -> None:
    job_id = send(client, num_inference_steps=500)
    early = client.get(f"/jobs/{job_id}/result")
    assert early.status_code == 409
    assert "has not ended yet" in early.get_json()["message"]
    client.post(f"/jobs/{job_id}/cancel")
    late = client.get(f"/jobs/{job_id}/result")
    assert (late.status_code, late.get_json()["message"]) == (409, "This job was cancelled.")


def test_answers_that_were_given_are_not_kept(client: FlaskClient) -> None:
    job_id = client.post("/txt2img", data=FORM).headers["X-Job-Id"]
    response = client.get(f"/jobs/{job_id}/result")
    assert response.status_code == 404
    assert "wait=false" in response.get_json()["message"]
    assert client.get("/jobs/nobody/result").status_code == 404


def test_wait_is_true_or_false(client: FlaskClient) -> None:
    response = client.post("/txt2img", data=FORM | {"wait": "perhaps"})
    assert response.status_code == 400
    assert response.get_json()["message"] == "wait is 'perhaps'; it must be true or false"


def ended(job_id: str, size: int) -> Job:
    job = Job(request(), job_id=job_id)
    job.finish(GenerationResult((GeneratedImage(bytes(size), 7, nsfw=False),)))
    return job


def test_outcomes_are_kept_for_a_time() -> None:
    kept = KeptOutcomes(max_seconds=0.05)
    kept.keep(ended("one", 10))
    assert isinstance(kept.outcome("one"), GenerationResult)
    time.sleep(0.06)
    assert kept.outcome("one") is None


def test_the_oldest_go_where_there_are_too_many_bytes_but_the_latest_stays() -> None:
    kept = KeptOutcomes(max_bytes=25)
    for name in ("one", "two", "three"):
        kept.keep(ended(name, 10))
    assert [kept.outcome(name) is not None for name in ("one", "two", "three")] == [False, True, True]
    kept.keep(ended("large", 100))
    assert kept.outcome("three") is None
    assert kept.outcome("large") is not None


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_how_a_job_ended_badly_is_kept_too(end: str) -> None:
    kept = KeptOutcomes()
    job = Job(request(), job_id="one")
    kept.keep(job)
    assert kept.outcome("one") is None
    if end == "fail":
        job.fail(OutOfMemory("too large"))
        assert isinstance(kept.outcome("one"), OutOfMemory)
    else:
        job.cancel("enough")
        assert isinstance(kept.outcome("one"), JobCancelled)
