"""Tasks as clients see them, with the real engine."""

from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import from_base64, half_mask, photograph, png
from PIL import Image
from task_calls import QUICK
from task_client import LONG, TaskClient

from sd_api.generation.schedulers import SCHEDULERS


@pytest.fixture
def ann(client: FlaskClient) -> TaskClient:
    return TaskClient(client)


@pytest.fixture
def bob(client: FlaskClient) -> TaskClient:
    return TaskClient(client)


def picture(client: TaskClient, blob_id: str) -> Image.Image:
    answer = client.call("GET", f"/blob/{blob_id}")
    assert answer.mimetype == "image/png"
    image = Image.open(BytesIO(answer.data))
    image.load()
    return image


def test_text_to_image(ann: TaskClient) -> None:
    task_id = ann.create(**QUICK)
    event = ann.wait(task_id)
    assert (event["event_type"], event["task_id"]) == ("finished", task_id)
    image = picture(ann, event["image"]["blob_id"])
    assert (image.format, image.size) == ("PNG", (64, 64))
    assert "a dog" in image.info["parameters"]


def test_parameters_used_have_every_parameter(ann: TaskClient, settings: Any) -> None:
    used = ann.wait(ann.create(prompt="a dog", width=64, height=64, steps=1))["image"]["parameters_used"]
    seed = used.pop("seed")
    assert seed > 0
    assert used == {
        "task_type": "txt2img",
        "prompt": "a dog",
        "negative_prompt": "",
        "model_id": settings.model.rpartition("/")[2],
        "model_provider": "huggingface",
        "steps": 1,
        "guidance": 7.5,
        "scheduler": "plms",
        "eta": 0.0,
        "clip_skip": 1,
        "variation_seed": None,
        "variation_strength": 0.0,
        "safety_filter": True,
        "num_outputs": 1,
        "loras": None,
        "references": [],
        "refine": 0.35,
        "vae": None,
        "controls": [],
        "true_cfg_scale": 1.0,
        "prompt_syntax": "full",
        "plan": "auto",
        "width": 64,
        "height": 64,
    }


def test_what_was_used_makes_the_same_picture_again(ann: TaskClient) -> None:
    first = ann.wait(ann.create(prompt="a dog", width=64, height=64, steps=2))["image"]
    again = ann.wait(ann.create(**first["parameters_used"]))["image"]
    assert again["blob_id"] != first["blob_id"]
    assert again["parameters_used"] == first["parameters_used"]
    assert picture(ann, again["blob_id"]).tobytes() == picture(ann, first["blob_id"]).tobytes()


def test_a_tasks_picture_is_the_plugins(ann: TaskClient, client: FlaskClient) -> None:
    form = {"prompt": "a dog", "num_inference_steps": 2, "width": 64, "height": 64, "seed": 5, "scheduler": "plms"}
    plugins = from_base64(client.post("/txt2img", data=form).get_json()["images"][0]["base64"])
    mine = picture(ann, ann.wait(ann.create(**QUICK))["image"]["blob_id"])
    assert mine.tobytes() == plugins.tobytes()


def test_several_outputs(ann: TaskClient) -> None:
    event = ann.wait(ann.create(**QUICK, num_outputs=3))
    assert event["image"] == event["images"][0]
    assert [image["parameters_used"]["seed"] for image in event["images"]] == [5, 6, 7]
    assert len({image["blob_id"] for image in event["images"]}) == 3


def test_image_to_image_from_a_generated_picture(ann: TaskClient) -> None:
    first = ann.wait(ann.create(**QUICK))["image"]["blob_id"]
    event = ann.wait(ann.create(prompt="a cat", initial_image=first, strength=0.6, steps=4))
    used = event["image"]["parameters_used"]
    assert (used["task_type"], used["initial_image"], used["strength"]) == ("img2img", first, 0.6)
    assert picture(ann, event["image"]["blob_id"]).size == (64, 64)


def test_inpainting_keeps_what_is_black(ann: TaskClient) -> None:
    photo = photograph(72, 80)
    image, mask = ann.upload(png(photo)), ann.upload(png(half_mask(72, 80)))
    event = ann.wait(ann.create(prompt="a cat", initial_image=image, mask=mask, steps=4))
    assert event["image"]["parameters_used"]["task_type"] == "inpaint"
    result = picture(ann, event["image"]["blob_id"])
    left = (0, 0, 36, 80)
    assert result.crop(left).tobytes() == photo.crop(left).tobytes()
    assert result.tobytes() != photo.tobytes()


@pytest.mark.parametrize("prompt", ["a\0dog", "line\r\nX-Injected: 1", "\u202e犬 🐕\u0301", "x" * 4000])
def test_any_text_is_a_prompt(ann: TaskClient, prompt: str) -> None:
    event = ann.wait(ann.create(**QUICK | {"prompt": prompt, "negative_prompt": prompt}))
    assert event["image"]["parameters_used"]["prompt"] == prompt
    answer = ann.call("GET", f"/blob/{event['image']['blob_id']}")
    assert "X-Injected" not in answer.headers
    assert answer.status_code == 200


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
def test_every_scheduler_may_be_named(ann: TaskClient, scheduler: str) -> None:
    assert ann.wait(ann.create(**QUICK, scheduler=scheduler))["event_type"] == "finished"


def test_a_custom_model_is_local(ann: TaskClient) -> None:
    parameters = QUICK | {"model_provider": "local", "model_id": "folder/other", "safety_filter": False}
    used = ann.wait(ann.create(**parameters))["image"]["parameters_used"]
    assert (used["model_provider"], used["model_id"]) == ("local", "folder/other")


def test_the_documents_default_model_is_the_main_one(ann: TaskClient, settings: Any) -> None:
    parameters = QUICK | {"model_provider": "huggingface", "model_id": "CompVis/stable-diffusion-v1-4"}
    used = ann.wait(ann.create(**parameters))["image"]["parameters_used"]
    assert (used["model_provider"], used["model_id"]) == ("huggingface", settings.model.rpartition("/")[2])


def test_a_task_is_listed_newest_first_with_its_last_event(ann: TaskClient) -> None:
    ids = [ann.create(**QUICK, num_outputs=1) for _ in range(3)]
    for task_id in ids:
        ann.wait(task_id)
    listed = ann.call("GET", "/tasks").get_json()["tasks"]
    assert [task["task_id"] for task in listed] == ids[::-1]
    assert all(task["last_event"]["event_type"] == "finished" for task in listed)
    assert listed[0]["parameters"]["prompt"] == "a dog"
    page = ann.call("GET", "/tasks?limit=1&offset=1").get_json()["tasks"]
    assert [task["task_id"] for task in page] == [ids[1]]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "offset=-1"])
def test_a_bad_page_is_refused(ann: TaskClient, query: str) -> None:
    answer = ann.call("GET", f"/tasks?{query}")
    assert answer.status_code == 422
    assert answer.get_json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_running_task_is_cancelled(ann: TaskClient) -> None:
    task_id = ann.create(**LONG)
    ann.wait(task_id, "started")
    answer = ann.call("DELETE", f"/task/{task_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    event = ann.event(task_id)
    assert (event["event_type"], event["reason"]) == ("cancelled", "This task was cancelled.")
    # Once more changes nothing, and the device is free.
    assert ann.call("DELETE", f"/task/{task_id}").status_code == 204
    assert ann.event(task_id) == event
    assert ann.wait(ann.create(**QUICK))["event_type"] == "finished"


def test_a_waiting_task_is_cancelled(ann: TaskClient) -> None:
    running, waiting = ann.create(**LONG), ann.create(**QUICK)
    ann.wait(running, "started")
    ann.call("DELETE", f"/task/{waiting}")
    assert ann.event(waiting)["event_type"] == "cancelled"
    ann.call("DELETE", f"/task/{running}")
    kinds = [task["last_event"]["event_type"] for task in ann.call("GET", "/tasks").get_json()["tasks"]]
    assert kinds == ["cancelled", "cancelled"]


def test_nobody_sees_what_is_anothers(ann: TaskClient, bob: TaskClient) -> None:
    task_id = ann.create(**QUICK)
    blob_id = ann.wait(task_id)["image"]["blob_id"]
    for method, path in [
        ("GET", f"/task/{task_id}"),
        ("DELETE", f"/task/{task_id}"),
        ("GET", f"/blob/{blob_id}"),
        ("DELETE", f"/blob/{blob_id}"),
    ]:
        answer = bob.call(method, path)
        assert answer.status_code == 404
        assert answer.get_json()["detail"].startswith("There is no ")
    assert bob.call("GET", "/tasks").get_json() == {"tasks": []}
    answer = bob.call("POST", "/task", json={"prompt": "x", "initial_image": blob_id})
    assert answer.status_code == 422
    assert answer.get_json()["detail"][0]["loc"] == ["body", "initial_image"]
    assert ann.call("GET", f"/blob/{blob_id}").status_code == 200


def test_tasks_do_not_show_among_the_plugins_jobs(ann: TaskClient, client: FlaskClient) -> None:
    task_id = ann.create(**LONG)
    ann.wait(task_id, "started")
    assert client.get("/jobs").get_json()["jobs"] == []
    assert client.get("/progress").get_json()["job"] is None
    assert client.get(f"/jobs/{task_id}").status_code == 404
    assert client.post(f"/jobs/{task_id}/cancel").status_code == 404
    assert ann.event(task_id)["event_type"] == "started"
    ann.call("DELETE", f"/task/{task_id}")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ["x"]}, "prompt"),
    ({"prompt": "x" * 4001}, "prompt"),
    ({"prompt": "\ud800"}, "prompt"),
    ({"prompt": "x", "negative_prompt": "\ud800"}, "negative_prompt"),
    ({"prompt": "x", "steps": 0}, "steps"),
    ({"prompt": "x", "steps": 501}, "steps"),
    ({"prompt": "x", "steps": "2.5"}, "steps"),
    ({"prompt": "x", "steps": ""}, "steps"),
    ({"prompt": "x", "steps": 0.9}, "steps"),
    ({"prompt": "x", "steps": float("inf")}, "steps"),
    ({"prompt": "x", "steps": 10**30}, "steps"),
    ({"prompt": "x", "guidance": -1}, "guidance"),
    ({"prompt": "x", "guidance": 101}, "guidance"),
    ({"prompt": "x", "guidance": float("nan")}, "guidance"),
    ({"prompt": "x", "guidance": "nan"}, "guidance"),
    ({"prompt": "x", "safety_filter": "perhaps"}, "safety_filter"),
    ({"prompt": "x", "safety_filter": 2}, "safety_filter"),
    ({"prompt": "x", "guidance": float("inf")}, "guidance"),
    ({"prompt": "x", "scheduler": "magic"}, "scheduler"),
    ({"prompt": "x", "seed": -2}, "seed"),
    ({"prompt": "x", "seed": 2**64}, "seed"),
    ({"prompt": "x", "seed": 2**64 - 1, "num_outputs": 2}, "seed + num_outputs - 1"),
    ({"prompt": "x", "num_outputs": 4}, "num_outputs"),
    ({"prompt": "x", "num_outputs": 0}, "num_outputs"),
    ({"prompt": "x", "width": 63}, "width"),
    ({"prompt": "x", "width": 64, "height": 257}, "height"),
    ({"prompt": "x", "task_type": "video"}, "task_type"),
    ({"prompt": "x", "task_type": ["txt2img"]}, "task_type"),
    ({"prompt": "x", "task_type": "img2img"}, "initial_image"),
    ({"prompt": "x", "task_type": "inpaint"}, "initial_image"),
    ({"prompt": "x", "mask": "0" * 32}, "initial_image"),
    ({"prompt": "x", "initial_image": "0" * 32}, "initial_image"),
    ({"prompt": "x", "initial_image": "../../secret_key"}, "initial_image"),
    ({"prompt": "x", "model_id": "somebody/something"}, "model_id"),
    ({"prompt": "x", "model_id": "/etc"}, "model_id"),
    ({"prompt": "x", "model_id": "../models"}, "model_id"),
    ({"prompt": "x", "model_id": "."}, "model_id"),
    ({"prompt": "x", "model_provider": "local", "model_id": "/etc"}, "model_id"),
    ({"prompt": "x", "model_provider": "elsewhere", "model_id": "x"}, "model_provider"),
    ({"prompt": "x", "model_provider": "elsewhere"}, "model_provider"),
    ({"prompt": "x", "params_type": "txt2img"}, "params_type"),
    ({"prompt": "x", "model": "somebody/something"}, "model"),
    ({"prompt": "x", "loras": []}, "loras"),
    ({"prompt": "x", "Steps": 20}, "Steps"),
    ({"prompt": "x", "task_type": "txt2img", "initial_image": "0" * 32}, "initial_image"),
    ({"prompt": "x", "task_type": "img2img", "mask": "0" * 32}, "mask"),
]


@pytest.mark.parametrize(("parameters", "field"), REFUSED, ids=lambda value: str(value)[:50])
def test_bad_parameters_are_refused_by_name(ann: TaskClient, parameters: dict[str, Any], field: str) -> None:
    answer = ann.call("POST", "/task", json=parameters)
    assert answer.status_code == 422
    (detail,) = (detail for detail in answer.get_json()["detail"] if detail["loc"] == ["body", field])
    assert set(detail) == {"loc", "msg", "type"}
    assert detail["msg"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"task_type": "video"}, "Input should be 'txt2img', 'img2img', 'inpaint', 'edit'"),
        ({"model_provider": "elsewhere"}, "model_provider is 'elsewhere'; valid are huggingface, local"),
        ({"params_type": "txt2img"}, "params_type is not a parameter of tasks. Did you mean task_type?"),
        ({"model": "a/b"}, "model is not a parameter of tasks. Did you mean model_id?"),
        ({"task_type": "txt2img", "mask": "0" * 32}, "mask is a parameter of inpaint only."),
        ({"initial_image": "corgi.png"}, "This is no blob's id, which has 32 of the letters 0123456789abcdef"),
    ],
)
def test_what_would_be_valid_is_named(ann: TaskClient, parameters: dict[str, Any], words: str) -> None:
    (detail,) = ann.call("POST", "/task", json={"prompt": "x", **parameters}).get_json()["detail"]
    assert detail["msg"] == words


def test_every_bad_parameter_is_named_at_once(ann: TaskClient) -> None:
    answer = ann.call("POST", "/task", json={"steps": 0, "width": 1, "scheduler": 5})
    assert {detail["loc"][1] for detail in answer.get_json()["detail"]} == {"prompt", "steps", "width", "scheduler"}


def test_what_is_no_image_or_no_model_is_named_along_with_the_others(ann: TaskClient) -> None:
    mask = ann.upload(png(photograph(8, 8)))
    parameters = {
        "task_type": "inpaint",
        "prompt": "x" * 4001,
        "steps": 501,
        "model_id": "somebody/something",
        "initial_image": "0" * 32,
        "mask": mask,
        "strength": "x",
        "safety_filter": False,
    }
    answer = ann.call("POST", "/task", json=parameters)
    assert answer.status_code == 422
    names = {detail["loc"][1] for detail in answer.get_json()["detail"]}
    assert names == {"prompt", "steps", "model_id", "initial_image", "strength"}


@pytest.mark.parametrize("strength", [0, 0.01])
def test_any_strength_is_taken(ann: TaskClient, strength: float) -> None:
    blob_id = ann.upload(png(photograph(64, 64)))
    answer = ann.call("POST", "/task", json={"prompt": "x", "initial_image": blob_id, "strength": strength, "steps": 2})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"5", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"prompt": "x"}', "text/plain"),
        (b"prompt=x", "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_json_object_is_refused(ann: TaskClient, body: bytes, content_type: str) -> None:
    answer = ann.call("POST", "/task", data=body, content_type=content_type)
    assert answer.status_code == 422
    assert answer.get_json()["detail"][0]["loc"] == ["body"]
