"""Everything malformed is refused in the plugin's own shape, and the next request works."""

import random
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import photograph, to_base64
from werkzeug.test import TestResponse

from sd_api.settings import Settings

GOOD: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": "1", "width": "64", "height": "64", "seed": "5"}
IMAGE = to_base64(photograph(64, 64))


def refused(response: TestResponse, status: int) -> str:
    """The message of a failure, held to the documented shape."""
    answer = response.get_json()
    assert response.status_code == status, answer
    assert response.mimetype == "application/json"
    assert {"status", "message"} <= set(answer) <= {"status", "message", "errors"}
    assert answer["status"] == "failure"
    message: str = answer["message"]
    assert message
    assert "hf_secret" not in response.get_data(as_text=True)
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("field", "value", "status", "words"),
    [
        ("prompt", None, 400, "prompt is missing"),
        ("prompt", "x" * 4001, 422, "prompt has 4001 characters; at most 4000"),
        ("negative_prompt", "x" * 4001, 422, "negative_prompt has 4001 characters"),
        ("seed", "", 400, "seed is empty; it must be a whole number"),
        ("seed", "abc", 400, "seed is 'abc'; it must be a whole number"),
        ("seed", "-2", 422, "seed is -2; it must be from 0 to 18446744073709551615"),
        ("seed", str(2**64), 422, "seed is 18446744073709551616"),
        ("seed", "9" * 400, 422, "seed is 99999999999999999999…; it must be from 0 to 18446744073709551615"),
        ("width", "-" + "9" * 400, 422, "width is -9999999999999999999…; it must be from 64 to 256"),
        ("num_outputs", "9" * 400, 422, "num_outputs is 9999"),
        ("seed", "9" * 5000, 400, "seed is '9999"),
        ("num_outputs", "0", 422, "num_outputs is 0; it must be from 1 to 3"),
        ("num_outputs", "-4", 422, "num_outputs is -4"),
        ("num_outputs", "1000000000", 422, "num_outputs is 1000000000;"),
        ("width", "512.5", 400, "width is '512.5'; it must be a whole number"),
        ("width", "nan", 400, "width is 'nan'"),
        ("width", "1e999", 400, "width is '1e999'"),
        ("width", "63", 422, "width is 63; it must be from 64 to 256"),
        ("height", "257", 422, "height is 257; it must be from 64 to 256"),
        ("num_inference_steps", "0", 422, "num_inference_steps is 0; it must be from 1 to 500"),
        ("num_inference_steps", "501", 422, "num_inference_steps is 501"),
        ("guidance_scale", "nan", 400, "guidance_scale is 'nan'; it must be a finite number"),
        ("guidance_scale", "1e999", 400, "guidance_scale is '1e999'; it must be a finite number"),
        ("guidance_scale", "-inf", 400, "finite"),
        ("guidance_scale", "-1", 422, "guidance_scale is -1"),
        ("eta", "2", 422, "eta is 2; it must be from 0 to 1"),
        ("scheduler", "magic", 422, "scheduler is 'magic'; valid are plms, ddim, k-lms"),
        ("safety_checker", "maybe", 400, "safety_checker is 'maybe'; it must be true or false"),
    ],
)
def test_a_bad_field_is_named_with_what_came_and_what_is_valid(
    client: FlaskClient, field: str, value: str | None, status: int, words: str
) -> None:
    form = {key: text for key, text in (GOOD | {field: value}).items() if text is not None}
    assert words in refused(client.post("/txt2img", data=form), status)


def test_every_malformed_field_is_named_at_once(client: FlaskClient) -> None:
    message = refused(client.post("/txt2img", data={"seed": "x", "width": "y"}), 400)
    assert all(name in message for name in ("prompt", "seed", "width"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("text=a+dog", "prompt is missing; text is not known here and was ignored; use prompt"),
        ('{"prompt": "a dog"}', """prompt is missing; '{"prompt": "a dog"}' is not known here and was ignored"""),
        ("", "prompt is missing; the form has no fields"),
    ],
)
def test_a_missing_prompt_is_refused_with_what_came_instead(client: FlaskClient, body: str, words: str) -> None:
    response = client.post("/txt2img", data=body, content_type="application/x-www-form-urlencoded")
    assert refused(response, 400) == words


def test_every_faulty_field_is_named_at_once_images_included(client: FlaskClient) -> None:
    form = {"num_inference_steps": "0", "strength": "x", "seed": "-2", "init_image": IMAGE[:200], "mask_image": "§"}
    response = client.post("/masking", data=form)
    message = refused(response, 400)
    errors = response.get_json()["errors"]
    assert message == "; ".join(error["message"] for error in errors)
    names = ["prompt", "num_inference_steps", "init_image", "strength", "mask_image", "seed"]
    assert sorted(error["field"] for error in errors) == sorted(names)
    assert all(error["message"].startswith(error["field"]) for error in errors)


def test_fields_that_are_only_out_of_limits_are_named_at_once(client: FlaskClient) -> None:
    form = GOOD | {"width": "63", "guidance_scale": "101", "clip_skip": "0", "variation_strength": "2"}
    response = client.post("/txt2img", data=form)
    refused(response, 422)
    names = {error["field"] for error in response.get_json()["errors"]}
    assert names == {"width", "guidance_scale", "clip_skip", "variation_strength"}


def test_what_is_about_no_field_names_none(client: FlaskClient) -> None:
    assert "errors" not in client.post("/custom/nothing", data=GOOD).get_json()


def test_a_repeated_field_is_refused(client: FlaskClient) -> None:
    message = refused(client.post("/txt2img", data=GOOD | {"seed": ["1", "2"]}), 400)
    assert message == "seed: came more than once; send each field once."


@pytest.mark.parametrize(
    ("path", "form", "status", "words"),
    [
        ("/img2img", {}, 400, "init_image is missing"),
        ("/img2img", {"init_image": ""}, 400, "init_image is empty"),
        ("/img2img", {"init_image": "§§§§"}, 400, "init_image"),
        ("/img2img", {"init_image": "aGVsbG8gd29ybGQ="}, 400, "init_image"),
        ("/img2img", {"init_image": IMAGE[:200]}, 400, "init_image"),
        ("/img2img", {"init_image": IMAGE, "strength": "1.5"}, 422, "strength is 1.5; it must be from 0 to 1"),
        ("/img2img", {"init_image": IMAGE, "strength": "x"}, 400, "strength is 'x'"),
        ("/img2img", {"init_image": to_base64(photograph(300, 300))}, 422, "init_image"),
        ("/masking", {"init_image": IMAGE}, 400, "mask_image is missing"),
        ("/masking", {"mask_image": IMAGE}, 400, "init_image is missing"),
        ("/masking", {"init_image": IMAGE, "mask_image": "xx"}, 400, "mask_image"),
        ("/custom/nothing", {}, 404, "no custom model 'nothing'. This server has: my_first_model, folder/other"),
        ("/custom/my_first_model", {"mask_image": IMAGE}, 400, "init_image is missing"),
        ("/custom/my_first_model", {"init_image": ""}, 400, "init_image is empty"),
    ],
)
def test_bad_images_and_paths(client: FlaskClient, path: str, form: dict[str, str], status: int, words: str) -> None:
    assert words in refused(client.post(path, data=GOOD | {"strength": "1"} | form), status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("GET", "/studio/nothing.js", 404),
        ("GET", "/nothing/here", 404),
        ("POST", "/custom//my_first_model", 404),
        ("POST", "/ping/", 404),
        ("GET", "/txt2img", 405),
        ("DELETE", "/custom/my_first_model", 405),
        ("POST", "/ping", 405),
        ("PUT", "/health", 405),
    ],
)
def test_every_failure_has_the_same_shape_on_every_path_and_method(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    response = client.open(path, method=method)
    refused(response, status)
    if status == 405:
        assert response.headers["Allow"]


def test_the_answer_to_an_unknown_path_lists_all_that_there_are(client: FlaskClient) -> None:
    message = refused(client.get("/nothing"), 404)
    # The last two are served beside the application.
    for path in ("/txt2img", "/custom/<path:url_path>", "/task/<task_id>", "/events", "/events/stream"):
        assert f" {path}," in message


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_other_content_types_are_refused_with_the_advice_to_send_a_form(client: FlaskClient, content_type: str) -> None:
    response = client.post("/txt2img", data='{"prompt": "a dog"}', content_type=content_type)
    assert "x-www-form-urlencoded" in refused(response, 400)


def test_an_uploaded_file_is_refused_with_the_advice_to_send_text(client: FlaskClient) -> None:
    message = refused(client.post("/img2img", data=GOOD | {"init_image": (BytesIO(b"x"), "a.png")}), 400)
    assert message == "init_image: came as a file; send images as base64 text."


def test_a_form_that_is_too_large_is_refused_with_the_limit(settings: Settings, client: FlaskClient) -> None:
    limit = settings.limits.max_request_bytes
    response = client.post("/txt2img", data=GOOD, environ_overrides={"CONTENT_LENGTH": str(limit + 1)})
    message = refused(response, 413)
    assert str(limit) in message
    assert "limits.max_request_bytes" in message


def test_a_large_form_is_taken(client: FlaskClient) -> None:
    form = GOOD | {"an_unknown_field": "x" * 20_000_000}
    assert client.post("/txt2img", data=form).status_code == 200


HOSTILE = [
    "", " ", "0", "-0", "1e308", "-1", "99999999999999999999", "NaN", "Infinity", "null", "None", "true", "[]", "{}",
    "\x00", "\ud7ff", "💥" * 50, "'; DROP TABLE", "../../etc/passwd", "<script>", "%s%n", "a" * 5000, "1_000", "１２",
    "0x10", "1,5", "+5", IMAGE[:100], IMAGE[::-1], "data:image/png;base64,", "data:,", "=====", "iVBORw0KGgo=",
]  # fmt: skip


def test_two_hundred_malformed_requests_leave_no_trace(client: FlaskClient) -> None:
    """No 5xx, no leak of the token or of a trace, and the request after them gives the same picture."""
    before = client.post("/txt2img", data=GOOD).get_json()
    dice = random.Random(20221020)
    fields = [
        *("prompt", "negative_prompt", "seed", "num_outputs", "width", "height", "num_inference_steps"),
        *("guidance_scale", "eta", "scheduler", "safety_checker", "init_image", "mask_image", "strength"),
    ]
    answered = {"success": 0, "failure": 0}
    for _ in range(200):
        path = dice.choice(["/txt2img", "/img2img", "/masking", "/custom/my_first_model", "/custom/" + "x" * 50])
        form = GOOD | {"init_image": IMAGE, "mask_image": IMAGE, "strength": "1"}
        for field in dice.sample(fields, 3):
            form[field] = dice.choice(HOSTILE)
        response = client.post(path, data=form)
        assert response.status_code in (200, 400, 404, 422), response.get_data(as_text=True)
        text = response.get_data(as_text=True)
        assert "hf_secret" not in text
        assert "Traceback" not in text
        answered[response.get_json()["status"]] += 1
    assert answered["failure"] >= 150
    assert client.post("/txt2img", data=GOOD).get_json() == before
