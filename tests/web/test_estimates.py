"""What a request would take, beside what it takes."""

import logging
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import from_base64, half_mask, photograph, png, to_base64
from PIL import Image
from task_client import TaskClient
from tiny_model import tiny_model

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 4, "width": 64, "height": 72}


def estimated(client: FlaskClient, **form: Any) -> dict[str, Any]:
    response = client.post("/estimate", data=form)
    assert response.status_code == 200, response.get_json()
    found: dict[str, Any] = response.get_json()["estimate"]
    return found


@pytest.fixture(scope="module")
def edit() -> dict[str, Any]:
    """A small part of a picture."""
    mask = Image.new("L", (256, 256))
    mask.paste(255, (200, 16, 232, 40))
    images = {"init_image": to_base64(photograph(256, 256)), "mask_image": to_base64(mask)}
    return {
        "prompt": "a dog",
        "num_inference_steps": 4,
        "strength": 1,
        "num_outputs": 2,
        **images,
        "inpaint_area": "masked",
    }


def test_text_to_image_is_one_region_of_its_size(client: FlaskClient) -> None:
    assert client.post("/txt2img", data=FORM).status_code == 200
    found = estimated(client, **FORM, num_outputs=3)
    assert (found["operation"], found["size"], found["pictures"]) == ("txt2img", {"width": 64, "height": 72}, 3)
    (region,) = found["regions"]
    whole = {"left": 0, "top": 0, "width": 64, "height": 72}
    assert region["edit"] == whole
    (only,) = region["passes"]
    assert (only["box"], only["tiles"], only["tile"], only["steps"], only["scale"]) == (whole, 0, None, 4, 1.0)
    assert (found["summary"], found["steps"], found["wait_seconds"]) == ("64×72", 12, 0.0)
    assert 0 < found["seconds"]["least"] < found["seconds"]["expected"] < found["seconds"]["most"]
    assert found["loaded"]
    assert found["memory"]["images"] == 3 * 64 * 72
    assert found["memory"]["model"] > 0
    assert found["memory"]["device"] > found["memory"]["model"]
    assert found["memory"]["disk"] == sum(file.stat().st_size for file in tiny_model().rglob("*") if file.is_file())
    assert found["how"][0].startswith("fp32, weights as published, all parts on the device, native attention: ")
    # The same files, which need not be loaded for that.
    other = estimated(client, **FORM, url_path="folder/other")
    assert other["memory"]["device"] == found["memory"]["device"]
    # What is loaded leaves its safety filter out, which is counted by itself.
    assert other["memory"]["model"] == pytest.approx(found["memory"]["model"], rel=0.05)
    assert other["how"][0].partition(":")[0] == found["how"][0].partition(":")[0]


def test_the_region_of_an_edit_is_that_of_its_picture(
    client: FlaskClient, edit: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sd_api.engine")
    found = estimated(client, **edit)
    answer = client.post("/masking", data=edit).get_json()
    parameters = from_base64(answer["images"][0]["base64"]).info["parameters"]
    (region,) = found["regions"]
    assert region["edit"] == {"left": 200, "top": 16, "width": 32, "height": 24}
    (only,) = region["passes"]
    box, size = only["box"], only["size"]
    text = f"{box['width']}x{box['height']}+{box['left']}+{box['top']} at {size['width']}x{size['height']}"
    assert f"Regions: {text}" in parameters
    assert found["summary"] == f"1 region of {size['width']}×{size['height']}"
    assert only["scale"] > 1
    assert found["steps"] == 2 * 4
    # In the terminal, too, with its time, once such a job has been measured.
    assert any(f": {found['summary']}" in line for line in caplog.messages)
    seconds = estimated(client, **edit)["seconds"]
    caplog.clear()
    assert client.post("/masking", data=edit).status_code == 200
    expected, least, most = (f"{seconds[name]:.1f}" for name in ("expected", "least", "most"))
    assert f"{found['summary']}, about {expected} s ({least} to {most})" in caplog.messages[0]


def test_the_fields_select_the_operation_unless_it_is_named(client: FlaskClient, edit: dict[str, Any]) -> None:
    small = {"prompt": "a dog", "init_image": to_base64(photograph(64, 64))}
    assert estimated(client, **small)["operation"] == "img2img"
    assert estimated(client, **small, url_path="folder/other")["operation"] == "img2img"
    assert estimated(client, **edit, operation="img2img")["operation"] == "img2img"
    refused = client.post("/estimate", data=FORM | {"operation": "draw"})
    assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (400, "operation")
    assert client.post("/estimate", data=FORM | {"url_path": "nothing"}).status_code == 404


@pytest.mark.parametrize(
    "form",
    [
        {"prompt": "a dog", "width": "wide"},
        FORM | {"width": 100_000, "num_outputs": 0},
        {"prompt": "a dog", "init_image": "no image", "mask_image": to_base64(half_mask(8, 8))},
        # Known only of a model that is loaded.
        FORM | {"safety_checker": "false"},
        {"prompt": "a dog", "init_image": to_base64(photograph(64, 64)), "image_guidance_scale": 2},
    ],
)
def test_what_is_refused_of_a_request_is_refused_of_its_estimate(client: FlaskClient, form: dict[str, Any]) -> None:
    refused, request = client.post("/estimate", data=form), client.post("/custom/my_first_model", data=form)
    named = client.post("/estimate", data=form | {"url_path": "my_first_model"})
    assert request.status_code in (400, 422)
    assert (named.status_code, named.get_json()) == (request.status_code, request.get_json())
    assert refused.status_code == request.status_code


def test_an_unknown_field_is_warned_of_as_in_the_answer(client: FlaskClient) -> None:
    (warning,) = estimated(client, **FORM, sampler="Euler")["warnings"]
    assert "sampler" in warning


def test_a_task_is_estimated_like_the_form(client: FlaskClient) -> None:
    ann = TaskClient(client)
    blob = ann.upload(png(photograph(64, 64)))
    fields = {"prompt": "a dog", "initial_image": blob, "steps": 5, "strength": 0.4, "safety_filter": False}
    found = ann.asked("POST", "/tasks/estimate", json=fields)
    assert (found["operation"], found["steps"], found["summary"]) == ("img2img", 2, "64×64")
    (warning,) = found["warnings"]
    assert "may not be used without the filter" in warning
    assert ann.asked("GET", "/tasks")["tasks"] == []
    refused = ann.call("POST", "/tasks/estimate", json={"steps": 5})
    assert (refused.status_code, refused.get_json()["detail"][0]["loc"]) == (422, ["body", "prompt"])
