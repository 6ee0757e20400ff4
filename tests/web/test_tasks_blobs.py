"""Images: up, down and away."""

import time
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from pictures import photograph, png
from PIL import Image
from task_client import TaskClient


@pytest.fixture
def ann(client: FlaskClient) -> TaskClient:
    return TaskClient(client)


def encoded(image: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_a_png_comes_back_to_the_last_byte(ann: TaskClient) -> None:
    content = png(photograph(40, 30))
    answer = ann.call("GET", f"/blob/{ann.upload(content)}")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, content, "image/png")
    assert answer.headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("image/webp,image/*;q=0.8", "image/png"),
        ("text/html", "image/png"),
        ("application/octet-stream", "application/octet-stream"),
    ],
)
def test_the_client_chooses_what_the_type_is_called(ann: TaskClient, accept: str, kind: str) -> None:
    content = png(photograph(40, 30))
    answer = ann.call("GET", f"/blob/{ann.upload(content)}", headers={"Accept": accept})
    assert (answer.status_code, answer.data, answer.mimetype) == (200, content, kind)
    assert "Accept" in answer.headers["Vary"]


def test_a_download_has_a_name(ann: TaskClient) -> None:
    blob_id = ann.upload(png(photograph(40, 30)))
    assert ann.call("GET", f"/blob/{blob_id}").headers["Content-Disposition"] == f"inline; filename={blob_id}.png"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_other_formats_come_back_as_png(ann: TaskClient, kind: str) -> None:
    answer = ann.call("GET", f"/blob/{ann.upload(encoded(photograph(40, 30), kind))}")
    assert answer.mimetype == "image/png"
    assert Image.open(BytesIO(answer.data)).size == (40, 30)


def test_the_raw_body_will_do(ann: TaskClient) -> None:
    content = png(photograph(40, 30))
    blob_id = ann.call("POST", "/blob", data=content, content_type="image/png").get_json()
    assert ann.call("GET", f"/blob/{blob_id}").data == content


def test_a_part_can_be_asked_for(ann: TaskClient) -> None:
    content = png(photograph(40, 30))
    path = f"/blob/{ann.upload(content)}"
    answer = ann.call("GET", path, headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.data) == (206, content[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    beyond = ann.call("GET", path, headers={"Range": f"bytes={len(content)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(content)}")


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "bytes=x", "pixels=0-1", "bytes=", "bytes=5-2"])
def test_a_part_that_is_not_understood_is_none_or_the_whole(ann: TaskClient, header: str) -> None:
    content = png(photograph(40, 30))
    answer = ann.call("GET", f"/blob/{ann.upload(content)}", headers={"Range": header})
    assert answer.status_code in (200, 416)
    assert answer.status_code == 416 or answer.data == content


def test_what_may_be_kept_by_a_browser(ann: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/blob/{ann.upload(png(photograph(40, 30)))}"
    whole, day = 30 * 24 * 3600, 24 * 3600
    now = time.time()
    ages = []
    for later in (0, 29 * day):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        answer = ann.call("GET", path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert {"Accept", "Authorization"} <= set(answer.headers["Vary"].split(", "))
        ages.append(answer.cache_control.max_age or 0)
    # No longer than it is there.
    assert whole - 60 < ages[0] <= whole
    assert day - 60 < ages[1] <= day


def test_what_the_client_has_is_not_sent_again(ann: TaskClient) -> None:
    path = f"/blob/{ann.upload(png(photograph(40, 30)))}"
    etag = ann.call("GET", path).headers["ETag"]
    answer = ann.call("GET", path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.data) == (304, b"")


def test_a_blob_can_be_deleted(ann: TaskClient) -> None:
    path = f"/blob/{ann.upload(png(photograph(40, 30)))}"
    assert ann.call("DELETE", path).status_code == 204
    assert ann.call("GET", path).status_code == 404
    assert ann.call("DELETE", path).status_code == 404


def test_the_same_picture_twice_is_two_blobs(ann: TaskClient) -> None:
    content = png(photograph(40, 30))
    first, second = ann.upload(content), ann.upload(content)
    ann.call("DELETE", f"/blob/{first}")
    assert ann.call("GET", f"/blob/{second}").data == content


@pytest.mark.parametrize("content", [b"", b"text", b"%PDF-1.4 something", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture_is_a_415(ann: TaskClient, content: bytes) -> None:
    answer = ann.call("POST", "/blob", data={"blob_data": (BytesIO(content), "x.png")})
    assert answer.status_code == 415
    assert "send PNG, JPEG" in answer.get_json()["detail"]


def test_another_content_type_is_a_415(ann: TaskClient) -> None:
    answer = ann.call("POST", "/blob", data=b"{}", content_type="application/json")
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "content",
    [png(photograph(300, 300)), png(photograph(40, 30))[:-40], b"\x89PNG\r\n\x1a\n"],
    ids=["too many pixels", "cut short", "header alone"],
)
def test_a_picture_that_cannot_be_used_is_a_422(ann: TaskClient, content: bytes) -> None:
    answer = ann.call("POST", "/blob", data={"blob_data": (BytesIO(content), "x.png")})
    assert answer.status_code == 422
    assert answer.get_json()["detail"][0]["loc"] == ["body", "blob_data"]


def test_a_form_without_the_field_is_a_422(ann: TaskClient) -> None:
    answer = ann.call("POST", "/blob", data={"other": (BytesIO(b"x"), "x.png")})
    assert answer.status_code == 422
    assert answer.get_json()["detail"][0] == {
        "loc": ["body", "blob_data"],
        "msg": "Send the image as a file in the field blob_data.",
        "type": "missing",
    }
