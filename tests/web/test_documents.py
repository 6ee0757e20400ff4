"""Documents: sent once, edited by their ids."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import from_base64, half_mask, photograph, png, to_base64
from task_client import TaskClient

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "strength": 1}
ELSEWHERE = {"REMOTE_ADDR": "10.0.0.9"}
CONTENT = png(photograph(64, 64))


def sent(client: FlaskClient, content: bytes = CONTENT, **options: Any) -> dict[str, Any]:
    options = {"data": content, "content_type": "image/png", **options}
    response = client.post("/documents", **options)
    assert response.status_code == 200, response.get_json()
    document: dict[str, Any] = response.get_json()["document"]
    return document


def test_its_id_takes_the_place_of_an_image(client: FlaskClient) -> None:
    document, mask = sent(client), sent(client, png(half_mask(64, 64)))
    assert (document["width"], document["height"], document["media_type"]) == (64, 64, "image/png")
    assert document["bytes"] == len(CONTENT)
    assert document["created"] < document["expires"]
    whole = client.post(
        "/masking",
        data=FORM | {"init_image": to_base64(photograph(64, 64)), "mask_image": to_base64(half_mask(64, 64))},
    )
    grouped = "-".join(mask["id"][at:to] for at, to in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
    by_id = client.post("/masking", data=FORM | {"init_image": document["id"], "mask_image": grouped.upper()})
    assert by_id.get_json()["images"] == whole.get_json()["images"]
    assert from_base64(by_id.get_json()["images"][0]["base64"]).size == (64, 64)
    estimate = client.post("/estimate", data=FORM | {"init_image": document["id"]})
    assert estimate.get_json()["estimate"]["operation"] == "img2img"


def test_a_form_will_do(client: FlaskClient) -> None:
    as_text = sent(client, data={"image": to_base64(photograph(64, 64))}, content_type=None)
    assert (as_text["width"], as_text["height"]) == (64, 64)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"data": b"no picture", "content_type": "image/png"}, 400, "image is not a picture"),
        ({"data": CONTENT[:-40], "content_type": "image/png"}, 400, "image is a PNG file that cannot be read"),
        ({"json": {"image": "x"}}, 400, "in the field image"),
        ({"data": {"picture": "x"}}, 400, "in the field image"),
    ],
)
def test_what_is_no_picture_is_refused(client: FlaskClient, options: dict[str, Any], status: int, message: str) -> None:
    response = client.post("/documents", **options)
    assert response.status_code == status
    assert response.get_json()["status"] == "failure"
    said = response.get_json()
    assert message in said["message"]
    if message.startswith("image is"):
        # The field has the name that this endpoint takes.
        assert [fault["field"] for fault in said["errors"]] == ["image"]


def test_it_is_its_senders_and_can_be_forgotten(client: FlaskClient) -> None:
    document = sent(client)
    path = f"/documents/{document['id']}"
    form = FORM | {"init_image": document["id"]}
    for caller in (ELSEWHERE, None):
        if caller is None:
            assert client.delete(path).status_code == 204
        response = client.get(path, environ_overrides=caller or {})
        assert (response.status_code, response.get_json()["status"]) == (404, "failure")
        refused = client.post("/img2img", data=form, environ_overrides=caller or {})
        assert refused.status_code == 422
        (error,) = refused.get_json()["errors"]
        assert error["field"] == "init_image"
        assert "you have no such document" in error["message"]
    assert client.delete(path).status_code == 404


def test_the_task_servers_images_are_documents(client: FlaskClient) -> None:
    ann = TaskClient(client)
    headers = {"Authorization": f"Bearer {ann.token}"}
    document = sent(client, headers=headers)
    assert ann.call("GET", f"/blob/{document['id']}").data == CONTENT
    blob_id = ann.upload(CONTENT)
    assert client.post("/img2img", data=FORM | {"init_image": blob_id}, headers=headers).status_code == 200
    assert client.post("/img2img", data=FORM | {"init_image": blob_id}).status_code == 422
