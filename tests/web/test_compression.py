"""Text is compressed for who takes it, and nothing else is."""

import gzip

import pytest
from flask.testing import FlaskClient

from sd_api.web.studio import STATIC

PATHS = ["/", "/studio/js/main.js", "/docs/swagger-ui-bundle.js", "/openapi.json", "/models"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_text_is_compressed(client: FlaskClient, path: str, method: str) -> None:
    plain = client.get(path)
    small = client.open(path, method=method, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    assert int(small.headers["Content-Length"]) < len(plain.data) / 2
    if method == "GET":
        assert gzip.decompress(small.data) == plain.data


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("br", None),
        ("identity", None),
        ("gzip;q=0.5, identity", None),
        ("", None),
    ],
)
def test_the_client_chooses(client: FlaskClient, accepted: str, encoding: str | None) -> None:
    answer = client.get("/", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(("first", "second"), [("gzip", "gzip"), ("gzip", ""), ("", "gzip")])
def test_what_has_not_changed_is_not_sent_again_in_either_form(client: FlaskClient, first: str, second: str) -> None:
    etag = client.get("/", headers={"Accept-Encoding": first}).headers["ETag"]
    assert etag.startswith("W/") == (first == "gzip")
    again = client.get("/", headers={"Accept-Encoding": second, "If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in again.headers


def test_pictures_tokens_and_small_answers_stay_as_they_are(client: FlaskClient) -> None:
    headers = {"Accept-Encoding": "gzip"}
    form = {"prompt": "a dog", "num_inference_steps": 1, "width": 64, "height": 64, "wait": "false"}
    job_id = client.post("/txt2img", data=form, headers=headers).headers["X-Job-Id"]
    while (result := client.get(f"/jobs/{job_id}/result", headers=headers)).status_code == 409:
        pass
    assert len(result.get_json()["images"][0]["base64"]) > 1400
    assert result.headers["Cache-Control"] == "no-transform"
    answers = [
        result,
        client.post("/txt2img", data=form | {"wait": "true"}, headers=headers),
        client.post("/token/all", headers=headers),
        client.get("/ping", headers=headers),
        client.get("/nothing", headers=headers),
    ]
    assert [answer.headers.get("Content-Encoding") for answer in answers] == [None] * 5


def test_the_page_of_the_api_takes_a_quarter_of_what_it_did(client: FlaskClient) -> None:
    page = (STATIC / "docs.html").read_text(encoding="utf-8")
    names = ["/docs/", "/openapi.json", *(part.split('"')[0] for part in page.split(' href="')[1:] if ".css" in part)]
    names += [part.split('"')[0] for part in page.split(' src="')[1:] if ".js" in part]
    assert "/docs/swagger-ui-bundle.js" in names
    sizes = [len(client.get(name, headers={"Accept-Encoding": "gzip"}).data) for name in names]
    assert sum(sizes) < 550_000
