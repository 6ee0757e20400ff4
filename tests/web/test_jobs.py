"""Jobs as clients see them: by id, with progress, previews and cancelling; with the real engine."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import from_base64
from werkzeug.test import TestResponse

from sd_api.wiring import Services

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "width": 64, "height": 64}
LONG = FORM | {"num_inference_steps": 500}


class Posted:
    """A request whose answer is waited for on another thread."""

    def __init__(self, client: FlaskClient, **form: Any) -> None:
        self._response: TestResponse | None = None

        def post() -> None:
            self._response = client.post("/txt2img", data=form)

        self._thread = threading.Thread(target=post)
        self._thread.start()

    def response(self) -> TestResponse:
        self._thread.join(60)
        assert self._response is not None
        return self._response


@pytest.fixture
def long_job(client: FlaskClient) -> Iterator[Posted]:
    """A running job that is called ``long``, or something like it."""
    job_id = f"long-{time.monotonic_ns()}"
    posted = Posted(client, **LONG, job_id=job_id)
    posted.job_id = job_id  # type: ignore[attr-defined]
    wait_for(client, job_id, lambda job: job["progress"] is not None and job["progress"]["step"] > 2)
    yield posted
    client.post(f"/jobs/{job_id}/cancel")
    posted.response()


def job(client: FlaskClient, job_id: str, query: str = "") -> dict[str, Any]:
    response = client.get(f"/jobs/{job_id}{query}")
    found: dict[str, Any] = response.get_json().get("job", {})
    return found


def wait_for(client: FlaskClient, job_id: str, condition: Any, query: str = "") -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (found := job(client, job_id, query)) and condition(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"never so: {job(client, job_id)}")


# plms makes one step more than it is asked for.


def test_every_answer_names_its_job(client: FlaskClient) -> None:
    response = client.post("/txt2img", data=FORM)
    found = job(client, response.headers["X-Job-Id"])
    assert (found["state"], found["mode"], found["message"]) == ("finished", "txt2img", None)
    assert found["progress"] == {"phase": "decoding", "step": 3, "steps": 3}
    assert "client" not in found


def test_the_steps_of_all_pictures_are_counted(client: FlaskClient) -> None:
    response = client.post("/txt2img", data=FORM | {"num_outputs": 3})
    assert job(client, response.headers["X-Job-Id"])["progress"] == {"phase": "decoding", "step": 9, "steps": 9}


def test_a_client_may_bring_its_own_id_once(client: FlaskClient) -> None:
    job_id = f"mine-{time.monotonic_ns()}"
    assert client.post("/txt2img", data=FORM | {"job_id": job_id}).headers["X-Job-Id"] == job_id
    again = client.post("/txt2img", data=FORM | {"job_id": job_id})
    assert again.status_code == 409
    assert "is taken" in again.get_json()["message"]


def test_of_many_at_once_with_one_id_one_is_made(client: FlaskClient) -> None:
    job_id = f"same-{time.monotonic_ns()}"
    posted = [Posted(client, **FORM, job_id=job_id) for _ in range(6)]
    statuses = sorted(one.response().status_code for one in posted)
    assert statuses == [200] + [409] * 5
    assert job(client, job_id)["state"] == "finished"


def test_an_empty_id_lets_the_server_choose(client: FlaskClient) -> None:
    chosen = {client.post("/txt2img", data=FORM | {"job_id": ""}).headers["X-Job-Id"] for _ in range(2)}
    assert len(chosen) == 2
    assert "" not in chosen


@pytest.mark.parametrize("job_id", [" ", "a/b", "ö", "a" * 65, "a\nb", "a\n", ".."])
def test_an_id_that_is_no_good_in_a_path_is_refused(client: FlaskClient, job_id: str) -> None:
    response = client.post("/txt2img", data=FORM | {"job_id": job_id})
    assert response.status_code == 400
    assert response.get_json()["message"].startswith("job_id is ")


def test_a_running_job_is_shown_and_cancelled_by_its_id(client: FlaskClient, long_job: Any) -> None:
    # Too long to overtake, and of another size, so that it cannot join.
    slow = FORM | {"num_inference_steps": 300, "width": 72}
    waiting = Posted(client, **slow, job_id=f"waiting-{time.monotonic_ns()}")
    time.sleep(0.1)
    running, queued = client.get("/jobs").get_json()["jobs"]
    assert (running["id"], running["state"], running["position"]) == (long_job.job_id, "running", None)
    assert running["progress"]["steps"] == 501
    assert running["seconds_left"] > 0
    assert (queued["state"], queued["position"]) == ("queued", 1)
    assert client.get("/progress").get_json()["job"]["id"] == long_job.job_id

    move = f"/jobs/{queued['id']}/move"
    assert client.post(move).get_json()["job"]["position"] == 1
    assert client.post(f"{move}?before={long_job.job_id}").status_code == 409
    assert client.post(f"{move}?before={queued['id']}").get_json()["errors"][0]["field"] == "before"
    assert client.post(f"{move}?before=one&after=another").get_json()["errors"][0]["field"] == "after"

    cancelled = client.post(f"/jobs/{long_job.job_id}/cancel").get_json()
    assert (cancelled["status"], cancelled["job"]["state"]) == ("success", "cancelled")
    answer = long_job.response()
    assert answer.status_code == 409
    assert answer.headers["X-Job-Id"] == long_job.job_id
    assert answer.get_json() == {"status": "failure", "message": "This job was cancelled."}
    assert waiting.response().status_code == 200
    assert client.get("/progress").get_json() == {"status": "success", "job": None}
    # Once more changes nothing.
    assert client.post(f"/jobs/{long_job.job_id}/cancel").get_json()["job"]["state"] == "cancelled"


def test_a_preview_comes_only_when_asked_for(client: FlaskClient, long_job: Any) -> None:
    assert job(client, long_job.job_id)["preview"] is None
    shown = wait_for(client, long_job.job_id, lambda job: job["preview"] is not None, "?preview=true")
    preview = from_base64(shown["preview"])
    assert preview.size == (8, 8)
    response = client.get(f"/jobs/{long_job.job_id}/preview")
    assert (response.status_code, response.mimetype) == (200, "image/png")
    assert "X-Offset" not in response.headers
    client.post(f"/jobs/{long_job.job_id}/cancel")
    assert client.get(f"/jobs/{long_job.job_id}/preview").status_code == 204


@pytest.mark.parametrize(("method", "path"), [("get", "/jobs/nobody"), ("post", "/jobs/nobody/cancel")])
def test_an_unknown_job_is_a_404(client: FlaskClient, method: str, path: str) -> None:
    response = getattr(client, method)(path)
    assert response.status_code == 404
    assert response.get_json()["message"].startswith("There is no job 'nobody'")


def test_a_cancelled_job_does_not_stay_in_memory(client: FlaskClient, services: Services) -> None:
    gc.collect()
    gc.disable()
    try:
        job_id = f"gone-{time.monotonic_ns()}"
        posted = Posted(client, **LONG, job_id=job_id)
        wait_for(client, job_id, lambda job: job["state"] == "running")
        (running,) = services.queue._dispatcher.running.jobs  # type: ignore[attr-defined]
        gone = weakref.ref(running)
        del running
        client.post(f"/jobs/{job_id}/cancel")
        assert posted.response().status_code == 409
        deadline = time.monotonic() + 30
        while gone() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


def test_after_a_cancelled_job_a_picture_is_what_it_would_have_been(client: FlaskClient, services: Services) -> None:
    before = client.post("/txt2img", data=FORM).get_json()["images"][0]["base64"]
    for moment in (0, 0.02, 0.05, 0.1):
        job_id = f"soon-{time.monotonic_ns()}"
        posted = Posted(client, **LONG, job_id=job_id)
        wait_for(client, job_id, lambda job: True)
        time.sleep(moment)
        client.post(f"/jobs/{job_id}/cancel")
        assert posted.response().status_code == 409
    assert client.post("/txt2img", data=FORM).get_json()["images"][0]["base64"] == before
    assert services.queue.jobs() == []


def test_a_preview_is_wanted_or_not(client: FlaskClient) -> None:
    refused = client.get("/jobs/any?preview=null")
    assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (400, "preview")
    assert client.get("/jobs/any?preview=FALSE").status_code == 404
