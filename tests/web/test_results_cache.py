"""Jobs that are sent without waiting, and what they would have been answered."""

import time
from typing import Any

from flask.testing import FlaskClient

from sd_api.jobs.job import ENDED

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
