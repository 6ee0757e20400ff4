"""Texts that only an image may have, in every place of a request, for every dialect."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import photograph, to_base64

from sd_api.imaging.long_text import LONGEST_PLAIN, LongText

LONG = "QUJD" * (LONGEST_PLAIN // 4 + 1)
ONLY = f"has {len(LONG)} characters, which only an image may have"
A1111, OPENAI = "/sdapi/v1/txt2img", "/v1/images/generations"
GOOD = {"prompt": "a", "steps": 1, "width": 64, "height": 64}
NO_PICTURE = "is not a picture"


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("/txt2img", {"prompt": LONG}, 422, f"prompt {ONLY}"),
        ("/txt2img", {"prompt": "a", "width": LONG, "wait": LONG}, 422, f"width {ONLY}"),
        ("/txt2img", {"prompt": "a", "job_id": LONG}, 422, f"job_id {ONLY}"),
        ("/txt2img", {"prompt": "a", LONG: "a"}, 400, f"a field whose name has {len(LONG)} characters"),
        ("/txt2img", {"prompt": "a", "references": f'["{LONG}"]'}, 400, f"references.0.image {NO_PICTURE}"),
        ("/txt2img", {"prompt": "a", "references": f'[{{"image": "{LONG}", "{LONG}": 1}}]'}, 400, "A name in the JSON"),
        ("/img2img", {"prompt": "a", "init_image": LONG}, 400, f"init_image {NO_PICTURE}"),
        ("/img2img", {"prompt": "a", "init_image": " " * LONGEST_PLAIN * 2}, 400, "init_image is empty"),
        ("/documents", {"image": LONG}, 400, f"image {NO_PICTURE}"),
        ("/estimate", {"prompt": "a", "url_path": LONG}, 422, f"url_path {ONLY}"),
        ("/estimate", {"prompt": "a", "operation": LONG}, 422, f"operation {ONLY}"),
    ],
)
def test_a_form_may_have_a_long_text_for_an_image_alone(
    client: FlaskClient, path: str, fields: dict[str, str], status: int, words: str
) -> None:
    response = client.post(path, data=fields, content_type="application/x-www-form-urlencoded")
    assert response.status_code == status
    assert words in response.get_json()["message"]


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        (A1111, {"prompt": LONG}, 422, f"prompt {ONLY}"),
        (A1111, {"sampler_name": LONG}, 404, "Sampler not found"),
        (A1111, {"batch_size": LONG, "styles": [LONG]}, 422, f"batch_size {ONLY}"),
        (A1111, {"override_settings": {"a": [LONG]}}, 413, "The options would have more than"),
        (A1111, {"override_settings": {"CLIP_stop_at_last_layers": LONG}}, 422, f"CLIP_stop_at_last_layers {ONLY}"),
        (A1111, {"alwayson_scripts": {"controlnet": {"args": [{"model": LONG}]}}}, 422, f"model {ONLY}"),
        (A1111, {"alwayson_scripts": {LONG: {"args": [1]}}}, 400, "A name in the JSON"),
        ("/sdapi/v1/img2img", {"init_images": [LONG]}, 422, f"init_images {NO_PICTURE}"),
        ("/sdapi/v1/png-info", {"image": LONG}, 422, f"image {NO_PICTURE}"),
        ("/sdapi/v1/extra-batch-images", {"imageList": [{"data": LONG, "name": LONG}]}, 422, f"name {ONLY}"),
        ("/controlnet/detect", {"controlnet_input_images": [LONG]}, 422, f"controlnet_input_images {NO_PICTURE}"),
        (OPENAI, {"prompt": LONG}, 400, f"prompt {ONLY}"),
        (OPENAI, {"prompt": "a", "size": LONG}, 400, "size is"),
        (OPENAI, {"prompt": "a", "model": LONG}, 400, f"model {ONLY}"),
        (OPENAI, {"prompt": "a", "quality": LONG}, 400, f"quality {ONLY}"),
        ("/v1/images/edits", {"prompt": "a", "image": [{"image_url": {"url": LONG}}]}, 400, f"image {NO_PICTURE}"),
        ("/v1/images/edits", {"prompt": "a", "image": {"image_url": {LONG: 1}}}, 400, "A name in the JSON"),
    ],
)
def test_json_may_have_a_long_text_for_an_image_alone(
    client: FlaskClient, path: str, fields: dict[str, Any], status: int, words: str
) -> None:
    response = client.post(path, json=fields)
    assert words in response.get_data(as_text=True)
    assert response.status_code == status


def test_a_long_text_that_means_nothing_is_sent_back_as_its_beginning(client: FlaskClient) -> None:
    answer = client.post(A1111, json={**GOOD, "unknown": LONG, "infotext": LONG, "comments": {"a": LONG}})
    assert answer.status_code == 200
    sent_back = answer.get_json()["parameters"]
    assert (sent_back["infotext"], sent_back["comments"]) == (LONG[:64] + "…", {"a": LONG[:64] + "…"})


def test_a_long_picture_is_read_from_a_form_and_from_json(client: FlaskClient) -> None:
    picture = to_base64(photograph(64, 64)).rjust(LONGEST_PLAIN * 2)
    fields = {"prompt": "a", "num_inference_steps": "1", "seed": "1"}
    made = [client.post("/img2img", data={**fields, "init_image": each}) for each in (picture, picture.strip())]
    assert [each.status_code for each in made] == [200, 200]
    assert made[0].get_json()["images"] == made[1].get_json()["images"]
    assert client.post("/sdapi/v1/png-info", json={"image": picture}).status_code == 200


def test_long_texts_are_equal_where_their_characters_are() -> None:
    text, same, other = (LongText(memoryview(each.encode())) for each in (LONG, LONG, f"{LONG[:-99]}x{LONG[-98:]}"))
    assert (text == same, text == other, text == LONG, hash(text) == hash(same)) == (True, False, False, True)
