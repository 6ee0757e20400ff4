"""Pictures and previews that are answered as PNG files."""

import json
import time
from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pictures import photograph, to_base64
from PIL import Image

from sd_api.generation.result import GeneratedImage
from sd_api.imaging.previews import encode_preview
from sd_api.jobs.job import ENDED
from sd_api.web.png_answers import picture_answer, png_wanted, preview_answer

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "width": 64, "height": 64}
ONLY_PNG = {"Accept": "image/png"}


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def test_one_picture_is_answered_as_it_is(client: FlaskClient) -> None:
    (expected,) = client.post("/txt2img", data=FORM).get_json()["images"]
    response = client.post("/txt2img", data=FORM | {"fox": "1"}, headers=ONLY_PNG)
    assert (response.status_code, response.mimetype) == (200, "image/png")
    assert response.data == b64decode(expected["base64"])
    headers = response.headers
    assert (headers["X-Seed"], headers["X-Nsfw"], headers["Cache-Control"]) == ("5", "false", "no-transform")
    assert not {"X-Offset", "X-Canvas", "X-Variation-Seed"} & set(headers.keys())
    assert client.get(f"/jobs/{headers['X-Job-Id']}").get_json()["job"]["state"] == "finished"
    (warning,) = json.loads(headers["X-Warnings"])
    assert "fox" in warning


def test_several_pictures_are_no_png_file(client: FlaskClient) -> None:
    several = FORM | {"num_outputs": 2}
    refused = client.post("/txt2img", data=several | {"job_id": "never"}, headers=ONLY_PNG)
    assert (refused.status_code, client.get("/jobs/never").status_code) == (406, 404)
    assert "2 were asked for" in refused.get_json()["message"]
    either = client.post("/txt2img", data=several, headers={"Accept": "image/png, */*;q=0.1"})
    assert len(either.get_json()["images"]) == 2
    wrong = client.post("/txt2img", data=FORM | {"width": "x"}, headers=ONLY_PNG)
    assert (wrong.status_code, wrong.get_json()["status"]) == (400, "failure")


def test_each_picture_of_a_job_has_an_address(client: FlaskClient) -> None:
    sent = client.post("/txt2img", data=FORM | {"num_outputs": 2, "wait": "false"}, headers=ONLY_PNG)
    job_id = sent.get_json()["job"]["id"]
    deadline = time.monotonic() + 30
    while client.get(f"/jobs/{job_id}").get_json()["job"]["state"] not in ENDED:
        assert client.get(f"/jobs/{job_id}/images/0").status_code in (200, 409)
        assert time.monotonic() < deadline
    images = client.get(f"/jobs/{job_id}/result").get_json()["images"]
    for number, image in enumerate(images):
        response = client.get(f"/jobs/{job_id}/images/{number}")
        assert response.data == b64decode(image["base64"])
        assert (response.status_code, response.headers["X-Seed"]) == (200, str(image["seed"]))
        assert {"private", "no-transform", "no-cache"} == set(response.headers["Cache-Control"].split(", "))
        etag = {"If-None-Match": response.headers["ETag"]}
        assert client.get(f"/jobs/{job_id}/images/{number}", headers=etag).status_code == 304
        part = client.get(f"/jobs/{job_id}/images/{number}", headers={"Range": "bytes=0-7"})
        assert (part.status_code, part.data) == (206, response.data[:8])
    for absent in ("2", "-1", "x"):
        assert client.get(f"/jobs/{job_id}/images/{absent}").status_code == 404


def test_a_patch_says_where_it_lies(client: FlaskClient) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 8, 40, 20))
    form = FORM | {"init_image": to_base64(photograph(64, 64)), "mask_image": to_base64(mask), "output": "patch"}
    response = client.post("/masking", data=form, headers=ONLY_PNG)
    assert (response.headers["X-Offset"], response.headers["X-Canvas"]) == ("16,8", "64,64")
    assert (opened(response.data).size, opened(response.data).mode) == ((24, 12), "RGBA")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("image/png", True),
        ("image/*", True),
        ("image/png;q=0.9, application/json;q=0.8", True),
        ("*/*", False),
        ("", False),
        ("application/json, image/png", False),
        ("application/json, text/plain, */*", False),
        ("text/html", False),
    ],
)
def test_json_is_answered_unless_png_is_preferred(accept: str, wanted: bool) -> None:
    with Flask("test").test_request_context(headers={"Accept": accept}):
        assert png_wanted(1) == wanted


def test_previews_of_a_part_say_which() -> None:
    with Flask("test").test_request_context():
        for region, offset, extent in ((None, None, None), ((8, 16, 72, 48), "8,16", "64,32")):
            response = preview_answer("preview", encode_preview(Image.new("RGB", (8, 4)), region))
            assert (response.headers.get("X-Offset"), response.headers.get("X-Extent")) == (offset, extent)
            assert (opened(response.data).size, response.headers["Cache-Control"]) == ((8, 4), "no-store")


def test_warnings_fit_into_a_header() -> None:
    image = GeneratedImage(b"", 5, nsfw=True, variation_seed=7)
    with Flask("test").test_request_context():
        headers = picture_answer("a", image, ["„狐“\n", "b" * 5000]).headers
    assert json.loads(headers["X-Warnings"]) == ["„狐“\n"]
    assert (headers["X-Warnings"].isascii(), headers["X-Nsfw"], headers["X-Variation-Seed"]) == (True, "true", "7")
