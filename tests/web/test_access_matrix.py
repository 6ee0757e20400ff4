"""Who may do what: every endpoint, for every kind of caller, with and without require_token."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pictures import photograph, png
from tasks_server import Driven
from werkzeug.test import TestResponse

from sd_api.app import create_app, create_event_streams
from sd_api.errors import OutOfMemory
from sd_api.settings import Settings
from sd_api.web.a1111.lists import LISTS, NOTHING_TO_DO
from sd_api.web.tasks.events import STREAM_PATH, WEBSOCKET_PATH, EventStreams
from sd_api.wiring import Services, build_services

# Ann has a user's token, Bob too; "nobody" has no token and is at the address that "here" comes from.
CALLERS = ("nobody", "wrong token", "elsewhere", "public token", "bob", "ann")
WITHOUT_TOKEN = CALLERS[:3]
ADDRESSES = {"elsewhere": "10.0.0.2"}
HERE = "10.0.0.1"

Statuses = dict[str, int]
"""The status of the answer to each caller."""


def all_callers(status: int) -> Statuses:
    return dict.fromkeys(CALLERS, status)


def only(caller: str, status: int) -> Statuses:
    """For one caller; for others, there is no such thing."""
    return all_callers(404) | {caller: status}


def with_token(statuses: Statuses) -> Statuses:
    """The same, where a token is needed."""
    return {**statuses, **dict.fromkeys(WITHOUT_TOKEN, 401)}


# Never needs a token.
OPEN = {
    ("GET", "/ping"): 200,
    ("GET", "/access"): 200,
    ("POST", "/user"): 422,
    ("POST", "/user/<username>"): 422,
    ("POST", "/token"): 422,
    ("POST", "/token/<username>"): 422,
    ("POST", "/token/all"): 200,
    ("GET", "/"): 200,
    ("GET", "/status"): 200,
    ("GET", "/studio/<path:name>"): 404,
    ("GET", "/openapi.json"): 200,
    ("GET", "/openapi.yml"): 200,
    # The name is signed.
    ("GET", "/v1/images/results/<name>"): 404,
    ("GET", "/docs/"): 200,
    ("GET", "/docs/<name>"): 404,
}

# Needs a token with require_token. A job is Ann's.
PLUGIN = {
    ("GET", "/health"): all_callers(200),
    ("GET", "/metrics"): all_callers(200),
    ("GET", "/workers"): all_callers(200),
    ("GET", "/custom_models"): all_callers(200),
    ("GET", "/models"): all_callers(200),
    ("POST", "/txt2img"): all_callers(400),
    ("POST", "/img2img"): all_callers(400),
    ("POST", "/masking"): all_callers(400),
    ("POST", "/edit"): all_callers(400),
    ("POST", "/custom/<path:url_path>"): all_callers(404),
    ("POST", "/estimate"): all_callers(400),
    ("POST", "/prompt"): all_callers(400),
    ("GET", "/v1/models"): all_callers(200),
    ("GET", "/v1/models/<path:model_id>"): all_callers(404),
    ("POST", "/v1/images/generations"): all_callers(400),
    ("POST", "/v1/images/edits"): all_callers(400),
    ("POST", "/v1/images/variations"): all_callers(400),
    ("GET", "/jobs"): all_callers(200),
    ("GET", "/progress"): all_callers(200),
    ("GET", "/jobs/<job_id>"): only("ann", 200),
    ("GET", "/jobs/<job_id>/result"): only("ann", 200),
    ("GET", "/jobs/<job_id>/images/<int:number>"): only("ann", 200),
    # It waits, so there is nothing to see.
    ("GET", "/jobs/<job_id>/preview"): only("ann", 204),
    ("POST", "/jobs/<job_id>/move"): only("ann", 200),
    ("POST", "/jobs/<job_id>/cancel"): only("ann", 200),
    # Callers from other computers may name no model of the hub.
    ("GET", "/downloads"): all_callers(200),
    ("POST", "/downloads/<path:model_id>"): all_callers(404),
    ("DELETE", "/downloads/<path:model_id>"): all_callers(404),
    ("POST", "/documents"): all_callers(400),
    ("GET", "/documents/<document_id>"): only("ann", 200),
    ("DELETE", "/documents/<document_id>"): only("ann", 204),
}

# Needs a token with require_token, too.
A1111 = {
    **{
        ("GET", f"/sdapi/v1/{name}"): all_callers(200)
        for name in (*LISTS, "embeddings", "loras", "sd-models", "sd-vae", "memory", "options", "progress")
    },
    **{("POST", f"/sdapi/v1/{name}"): all_callers(200) for name in (*NOTHING_TO_DO, "options", "interrupt", "skip")},
    ("POST", "/sdapi/v1/txt2img"): all_callers(422),
    ("POST", "/sdapi/v1/img2img"): all_callers(404),
    ("POST", "/sdapi/v1/extra-single-image"): all_callers(422),
    ("POST", "/sdapi/v1/extra-batch-images"): all_callers(422),
    ("POST", "/sdapi/v1/png-info"): all_callers(422),
    ("POST", "/sdapi/v1/interrogate"): all_callers(404),
    ("GET", "/sdapi/auto-photoshop-sd/heartbeat"): all_callers(200),
    ("GET", "/sdapi/auto-photoshop-sd/vae/list"): all_callers(200),
    ("POST", "/sdapi/auto-photoshop-sd/mask/expansion/"): all_callers(422),
    ("POST", "/sdapi/auto-photoshop-sd/controlnet/filter"): all_callers(200),
    **{
        ("GET", f"/controlnet/{name}"): all_callers(200)
        for name in ("version", "settings", "model_list", "module_list", "control_types")
    },
    ("POST", "/controlnet/detect"): all_callers(422),
    ("GET", "/queue/status"): all_callers(200),
    ("GET", "/user"): all_callers(200),
}

# Always needs a token. A task or an image is Ann's.
GUARDED = {
    ("POST", "/task"): all_callers(422),
    ("POST", "/tasks/estimate"): all_callers(422),
    ("GET", "/task/<task_id>"): only("ann", 200),
    ("GET", "/tasks"): all_callers(200),
    ("POST", "/blob"): all_callers(415),
    ("GET", "/blob/<blob_id>"): only("ann", 200),
    ("DELETE", "/blob/<blob_id>"): only("ann", 204),
    ("DELETE", "/task/<task_id>"): only("ann", 204),
}

# Served beside Flask.
EVENTS = {WEBSOCKET_PATH, STREAM_PATH}


@dataclass
class Matrix:
    """A server in which Ann has a job that was made, a task that runs, and a task and an image.

    Attributes:
        tokens: by caller.
        ids: for the paths.
    """

    required: bool
    app: Flask
    events: EventStreams
    tokens: dict[str, str]
    ids: dict[str, str]

    def ask(self, caller: str, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.tokens[caller]}"} if caller in self.tokens else {}
        address = {"REMOTE_ADDR": ADDRESSES.get(caller, HERE)}
        client: FlaskClient = self.app.test_client()
        return client.open(path, method=method, headers=headers, environ_overrides=address, **options)

    def statuses(self, method: str, rule: str) -> Statuses:
        """What is answered; Ann asks last, so that what others have asked has changed nothing."""
        ids = self.ids | ({"job_id": "made"} if rule.endswith(("/result", "/<int:number>")) else {})
        body = {"json": {"steps": "no number"}} if rule == "/sdapi/v1/txt2img" else {}
        path = re.sub(r"<(?:path:|int:)?(\w+)>", lambda found: ids.get(found[1], "nothing"), rule)
        return {caller: self.ask(caller, method, path, **body).status_code for caller in CALLERS}


FORM = {"prompt": "a dog", "width": "64", "height": "64", "wait": "false"}
TASK = {"prompt": "a cat", "width": 64, "height": 64}


def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module", params=[False, True], ids=["open", "require_token"])
def matrix(request: pytest.FixtureRequest, make_settings: Any, tmp_path_factory: Any) -> Iterator[Matrix]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    settings: Settings = make_settings(
        data=folder, enable_signup=True, enable_public_token=True, require_token=request.param
    )
    engine = Driven()
    services = build_services(settings, make_engine=lambda: engine)
    services.start()
    try:
        yield prepared(settings, services, engine)
    finally:
        engine.permissions.release(100)
        assert services.stop(timeout=10)


def prepared(settings: Settings, services: Services, engine: Driven) -> Matrix:
    app = create_app(settings, services)
    accounts = services.accounts
    tokens = {"wrong token": "wrong", "public token": accounts.public_token(HERE)}
    for name in ("ann", "bob"):
        accounts.sign_up(name, "password", HERE)
        tokens[name] = accounts.log_in(name, "password", HERE)
    matrix = Matrix(settings.require_token, app, create_event_streams(settings, services), tokens, {})

    def state(path: str, key: str, caller: str = "ann") -> Any:
        answer = matrix.ask(caller, "GET", path).get_json()
        return answer.get("job", answer)[key]

    def send(job_id: str, caller: str = "ann") -> None:
        assert matrix.ask(caller, "POST", "/txt2img", data=FORM | {"job_id": job_id}).status_code == 202

    send("made")
    engine.permissions.release()
    wait_until(lambda: state("/jobs/made", "state") == "finished")
    send("failed")
    engine.error = OutOfMemory("It is too large.")
    engine.permissions.release()
    wait_until(lambda: state("/jobs/failed", "state") == "failed")
    engine.error = None
    task_id = matrix.ask("ann", "POST", "/task", json=TASK).get_json()
    wait_until(lambda: state(f"/task/{task_id}", "event_type") == "started")
    send("waits")
    if not matrix.required:
        send("heres", "nobody")
    upload = {"data": png(photograph(8, 8)), "content_type": "image/png"}
    blob_id = matrix.ask("ann", "POST", "/blob", **upload).get_json()
    document_id = matrix.ask("ann", "POST", "/documents", **upload).get_json()["document"]["id"]
    matrix.ids.update(job_id="waits", number="0", task_id=task_id, blob_id=blob_id, document_id=document_id)
    return matrix


def test_every_endpoint_is_in_the_matrix(matrix: Matrix) -> None:
    served = {
        (method, rule.rule)
        for rule in matrix.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {*OPEN, *PLUGIN, *A1111, *GUARDED} == served
    paths = {rule.rule for rule in matrix.app.url_map.iter_rules()} | EVENTS
    beside = {path for path in paths if matrix.events.takes({"type": "http", "path": path})}
    assert beside == EVENTS


# Before those below, which delete.


def test_lists_show_the_callers_own_jobs_only(matrix: Matrix) -> None:
    callers = [caller for caller in CALLERS if not (matrix.required and caller in WITHOUT_TOKEN)]
    jobs = {caller: matrix.ask(caller, "GET", "/jobs").get_json() for caller in callers}
    shown = {caller: [job["id"] for job in answer["jobs"]] for caller, answer in jobs.items()}
    own = {"ann": [matrix.ids["task_id"], "waits"], "nobody": ["heres"], "wrong token": ["heres"]}
    assert shown == {caller: own.get(caller, []) for caller in callers}
    total = 2 if matrix.required else 3
    assert {answer["others"] + len(answer["jobs"]) for answer in jobs.values()} == {total}

    running = {caller: matrix.ask(caller, "GET", "/progress").get_json()["job"] for caller in callers}
    assert {caller for caller, job in running.items() if job is not None} == {"ann"}
    assert running["ann"]["id"] == matrix.ids["task_id"]
    for caller in callers:
        (worker,) = matrix.ask(caller, "GET", "/workers").get_json()["workers"]
        assert worker["busy"]
        assert worker["jobs"] == ([matrix.ids["task_id"]] if caller == "ann" else [])
        failures = matrix.ask(caller, "GET", "/health").get_json()["failures"]
        assert [failure["job_id"] for failure in failures] == (["failed"] if caller == "ann" else [])
        assert (caller == "ann") == (matrix.ids["task_id"] in matrix.ask(caller, "GET", "/tasks").text)
        assert not re.search("user:|address:|public:|10[.]0[.]0", matrix.ask(caller, "GET", "/metrics").text)


def test_the_name_of_anothers_job_is_free(matrix: Matrix) -> None:
    for caller in ("public token", "bob"):
        assert matrix.ask(caller, "POST", "/txt2img", data=FORM | {"job_id": "failed"}).status_code == 202
        assert matrix.ask(caller, "GET", "/jobs/failed").get_json()["job"]["state"] == "queued"
        assert matrix.ask(caller, "POST", "/jobs/failed/cancel").get_json()["job"]["state"] == "cancelled"
    assert matrix.ask("ann", "POST", "/txt2img", data=FORM | {"job_id": "failed"}).status_code == 409
    assert matrix.ask("ann", "GET", "/jobs/failed").get_json()["job"]["state"] == "failed"


def test_an_unknown_job_and_anothers_are_answered_alike(matrix: Matrix) -> None:
    for method, path in (
        ("GET", "/jobs/{}"),
        ("GET", "/jobs/{}/result"),
        ("POST", "/jobs/{}/cancel"),
        ("POST", "/jobs/{}/move"),
    ):
        there, absent = (matrix.ask("bob", method, path.format(name)) for name in ("waits", "nope"))
        assert there.status_code == absent.status_code == 404
        assert there.text.replace("waits", "nope") == absent.text


def test_a_job_of_an_address_is_that_addresss(matrix: Matrix) -> None:
    if matrix.required:
        return
    assert matrix.statuses("GET", "/jobs/heres") == all_callers(404) | {"nobody": 200, "wrong token": 200}
    for caller in ("elsewhere", "public token", "bob", "ann"):
        assert matrix.ask(caller, "POST", "/jobs/heres/cancel").status_code == 404
    assert matrix.ask("nobody", "GET", "/jobs/heres").get_json()["job"]["state"] == "queued"
    assert matrix.ask("nobody", "POST", "/jobs/heres/cancel").get_json()["job"]["state"] == "cancelled"


def test_previews_are_their_owners(matrix: Matrix) -> None:
    path = f"/jobs/{matrix.ids['task_id']}?preview=true"
    wait_until(lambda: matrix.ask("ann", "GET", path).get_json()["job"]["preview"] is not None)
    expected = only("ann", 200)
    assert matrix.statuses("GET", path) == (with_token(expected) if matrix.required else expected)
    assert matrix.statuses("GET", f"/blob/{matrix.ids['task_id']}-0") == with_token(expected)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("path", sorted(EVENTS))
def test_events_are_their_owners(matrix: Matrix, caller: str, path: str) -> None:
    sent = asyncio.run(heard(matrix, caller, path))
    is_let_in = caller not in WITHOUT_TOKEN
    if path == STREAM_PATH:
        assert sent[0]["status"] == (200 if is_let_in else 401)
    elif not is_let_in:
        assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1008)
    assert (caller == "ann") == (matrix.ids["task_id"] in str(sent))


async def heard(matrix: Matrix, caller: str, path: str) -> list[dict[str, Any]]:
    """What a client is sent that goes after the first event, or soon where there is none."""
    sent: list[dict[str, Any]] = []
    event = asyncio.Event()
    protocol = "http" if path == STREAM_PATH else "websocket"
    messages = iter([f"{protocol}.connect"] if protocol == "websocket" else [])

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if matrix.ids["task_id"] in str(message):
            event.set()

    async def receive() -> dict[str, Any]:
        if (kind := next(messages, None)) is not None:
            return {"type": kind}
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), 10 if caller == "ann" else 0.1)
        return {"type": f"{protocol}.disconnect"}

    headers = [(b"host", b"localhost")]
    if caller in matrix.tokens:
        headers.append((b"authorization", f"Bearer {matrix.tokens[caller]}".encode()))
    scope = {"type": protocol, "method": "GET", "path": path, "query_string": b"since=0", "headers": headers}
    await matrix.events(scope, receive, send)
    return sent


@pytest.mark.parametrize(("method", "rule"), OPEN)
def test_open_endpoints_answer_every_caller(matrix: Matrix, method: str, rule: str) -> None:
    assert matrix.statuses(method, rule) == all_callers(OPEN[method, rule])


@pytest.mark.parametrize(("method", "rule"), [*PLUGIN, *A1111])
def test_other_endpoints_need_a_token_if_required(matrix: Matrix, method: str, rule: str) -> None:
    expected = (PLUGIN | A1111)[method, rule]
    assert matrix.statuses(method, rule) == (with_token(expected) if matrix.required else expected)


@pytest.mark.parametrize(("method", "rule"), GUARDED)
def test_guarded_endpoints_always_need_a_token(matrix: Matrix, method: str, rule: str) -> None:
    assert matrix.statuses(method, rule) == with_token(GUARDED[method, rule])


@pytest.mark.parametrize("required", [False, True], ids=["open", "require_token"])
def test_with_share_jobs_every_caller_sees_the_plugins_jobs_and_no_tasks(
    make_settings: Any, tmp_path: Path, required: bool
) -> None:
    settings = make_settings(
        data=tmp_path, enable_signup=True, enable_public_token=True, share_jobs=True, require_token=required
    )
    engine = Driven()
    services = build_services(settings, make_engine=lambda: engine)
    services.start()
    try:
        matrix = prepared(settings, services, engine)
        let_in = [caller for caller in CALLERS if not (required and caller in WITHOUT_TOKEN)]
        for caller in set(CALLERS) - set(let_in):
            for method, path in (("GET", "/jobs"), ("GET", "/jobs/made/result"), ("POST", "/jobs/waits/cancel")):
                assert matrix.ask(caller, method, path).status_code == 401
        for caller in let_in:
            jobs = matrix.ask(caller, "GET", "/jobs").get_json()
            shared = {"waits"} if required else {"waits", "heres"}
            assert ({job["id"] for job in jobs["jobs"]}, jobs["others"]) == (shared, 1)
            assert matrix.ask(caller, "GET", "/jobs/made/result").status_code == 200
            assert matrix.ask(caller, "GET", f"/jobs/{matrix.ids['task_id']}").status_code == 404
        assert matrix.ask("bob", "POST", "/txt2img", data=FORM | {"job_id": "waits"}).status_code == 409
        cancelled = matrix.ask("public token" if required else "elsewhere", "POST", "/jobs/waits/cancel").get_json()
        assert cancelled["job"]["state"] == "cancelled"
    finally:
        engine.permissions.release(100)
        assert services.stop(timeout=10)
