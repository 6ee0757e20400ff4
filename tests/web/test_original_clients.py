"""What clients of the original task server send, and what becomes of it."""

import json
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from pictures import photograph, png
from task_calls import QUICK
from task_client import LONG, TaskClient


@pytest.fixture
def ann(client: FlaskClient) -> TaskClient:
    return TaskClient(client)


def accepted(ann: TaskClient, **parameters: Any) -> dict[str, Any]:
    """The parameters with which a task is accepted; the size is sent with every kind, as by clients with one form."""
    task_id = ann.create(**{"prompt": "a dog", "width": 64, "height": 64, **parameters})
    ann.call("DELETE", f"/task/{task_id}")
    task: dict[str, Any] = ann.asked("GET", "/tasks?limit=1")["tasks"][0]
    assert task["task_id"] == task_id
    used: dict[str, Any] = task["parameters"]
    return used


@pytest.mark.parametrize(
    ("field", "sent", "used"),
    [
        ("steps", "2", 2),
        ("steps", " 2 ", 2),
        ("steps", 2.0, 2),
        ("steps", 2.5, 2),
        ("steps", True, 1),
        ("seed", "7", 7),
        ("seed", 7.9, 7),
        ("num_outputs", "2", 2),
        ("guidance", "7.5", 7.5),
        ("guidance", "1e1", 10.0),
        ("guidance", 3, 3.0),
        ("safety_filter", "true", True),
        ("safety_filter", "Yes", True),
        ("safety_filter", 1, True),
        ("safety_filter", "off", False),
        ("prompt", 5, "5"),
    ],
)
def test_values_are_coerced_as_by_the_original(ann: TaskClient, field: str, sent: Any, used: Any) -> None:
    value = accepted(ann, **{field: sent})[field]
    assert (value, type(value)) == (used, type(used))


def test_null_is_not_given(ann: TaskClient) -> None:
    sent = dict.fromkeys(
        ("task_type", "negative_prompt", "model_id", "model_provider", "scheduler", "mask", "image_guidance", "model")
    )
    assert accepted(ann, **sent, seed=5) == accepted(ann, seed=5)


def test_null_does_not_choose_the_kind(ann: TaskClient) -> None:
    image = ann.upload(png(photograph(64, 64)))
    assert accepted(ann, initial_image=image, mask=None, image_guidance=None)["task_type"] == "img2img"
    assert accepted(ann, initial_image=None, strength=None)["task_type"] == "txt2img"


def test_one_form_for_all_kinds_may_have_a_size_and_a_strength(ann: TaskClient) -> None:
    assert "strength" not in accepted(ann, strength=0.5)
    image = ann.upload(png(photograph(64, 64)))
    assert accepted(ann, initial_image=image).keys().isdisjoint(("width", "height"))


def test_a_body_without_a_content_type_is_json(ann: TaskClient) -> None:
    answer = ann.call("POST", "/task", data=json.dumps(LONG))
    assert answer.status_code == 200
    assert ann.call("DELETE", f"/task/{answer.get_json()}").status_code == 204


def test_an_id_may_be_written_as_a_uuid(ann: TaskClient) -> None:
    image = ann.upload(png(photograph(64, 64)))
    for written in (str(UUID(image)), image.upper(), str(UUID(image)).upper()):
        assert accepted(ann, initial_image=written, mask=written)["initial_image"] == image
        assert ann.call("GET", f"/blob/{written}").status_code == 200
    task = ann.create(**LONG)
    written = str(UUID(task)).upper()
    assert ann.call("DELETE", f"/task/{written}").status_code == 204
    assert ann.asked("GET", f"/task/{written}")["task_id"] == task
    assert ann.call("DELETE", f"/blob/{UUID(image)!s}").status_code == 204
    assert ann.call("GET", f"/blob/{image}").status_code == 404


def test_a_filter_that_may_not_be_switched_off_is_applied_and_the_event_says_so(ann: TaskClient) -> None:
    event = ann.wait(ann.create(**QUICK, safety_filter=False))
    assert event["event_type"] == "finished"
    (warning,) = event["warnings"]
    assert warning.startswith("safety_filter: ")
    assert warning.endswith(" may not be used without the filter, so the filter was applied.")
    assert event["image"]["parameters_used"]["safety_filter"] is False
    allowed = QUICK | {"model_provider": "local", "model_id": "folder/other", "safety_filter": False}
    assert ann.wait(ann.create(**allowed))["warnings"] == []
