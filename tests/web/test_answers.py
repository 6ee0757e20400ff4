"""What the server really answers has the shapes that its description promises."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict, TypeAdapter
from task_calls import QUICK
from task_client import TaskClient

from sd_api.web.plugin.health_schemas import Health
from sd_api.web.plugin.job_schemas import Jobs, OneJob
from sd_api.web.plugin.model_schemas import CustomModelEntry, Offer
from sd_api.web.plugin.schemas import Access, Failure, Pictures, Success
from sd_api.web.tasks.schemas import Detail, LastEvent, NewUser, TaskList, Token, ValidationFailure

FORM = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "width": 64, "height": 64, "job_id": "described"}


def check(shape: Any, content: Any) -> None:
    """Also that nothing came which the shape does not know."""
    adapter = TypeAdapter(shape)
    known = adapter.dump_python(adapter.validate_python(content, strict=True), mode="json", exclude_unset=True)
    assert known == content


@pytest.mark.parametrize(
    ("method", "path", "options", "shape"),
    [
        ("GET", "/ping", {}, Success),
        ("GET", "/health", {}, Health),
        ("GET", "/custom_models", {}, list[CustomModelEntry]),
        ("POST", "/txt2img", {"data": FORM}, Pictures),
        ("POST", "/txt2img", {}, Failure),
        ("GET", "/jobs/described", {}, OneJob),
        ("POST", "/txt2img", {"data": FORM | {"job_id": "unattended", "wait": "false"}}, OneJob),
        ("GET", "/jobs/unattended/result", {}, Failure | Pictures),
        ("GET", "/jobs", {}, Jobs),
        ("GET", "/models", {}, Offer),
        ("GET", "/access", {}, Access),
        ("GET", "/access", {"query_string": {"address": "http://localhost:1337"}}, Access),
        ("GET", "/access", {"query_string": {"address": "http://evil.example"}}, Access),
        ("GET", "/access", {"query_string": {"address": "?"}}, Failure),
        ("GET", "/progress", {}, OneJob),
        ("POST", "/user", {"json": {"username": "described", "password": "x"}}, NewUser),
        ("POST", "/token", {"json": {"username": "described", "password": "x"}}, Token),
        ("POST", "/token/all", {}, Token),
        ("POST", "/token", {"json": {"username": "described", "password": "y"}}, Detail),
        ("POST", "/token", {"json": {}}, ValidationFailure),
        ("GET", "/tasks", {}, Detail),
    ],
)
def test_answers(client: FlaskClient, method: str, path: str, options: dict[str, Any], shape: Any) -> None:
    check(shape, client.open(path, method=method, **options).get_json())


def test_events_and_lists(client: FlaskClient) -> None:
    ann = TaskClient(client)
    ann.wait(ann.create(**QUICK, num_outputs=2))
    cancelled = ann.create(**QUICK)
    ann.call("DELETE", f"/task/{cancelled}")
    content = ann.call("GET", "/tasks").get_json()
    check(TaskList, content)
    for task in content["tasks"]:
        check(LastEvent, task["last_event"])


def test_a_shape_that_is_wrong_is_found() -> None:
    class Wrong(BaseModel):
        model_config = ConfigDict(extra="ignore")
        status: str

    with pytest.raises(AssertionError):
        check(Wrong, {"status": "success", "more": 1})
