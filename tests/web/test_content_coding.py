"""Bodies that are compressed, without a network; tests/e2e/test_server.py has the same with one."""

import gzip
import io
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph, png
from task_client import TaskClient
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import TestResponse

from sd_api.errors import RequestError
from sd_api.imaging.stretches import STRETCH
from sd_api.web.content_coding import UnsupportedCoding, find_unpacker, read_unpacked


def without_header(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate, identity": without_header,
}


def unpacked(coding: str | None, packed: bytes, pieces: int = 1000, max_bytes: int | None = None) -> bytes:
    unpacker = find_unpacker(coding)
    if unpacker is None:
        return packed
    if max_bytes is not None:
        return read_unpacked(io.BytesIO(packed), unpacker, max_bytes).read()
    stretches = [list(unpacker.unpack(packed[at : at + pieces])) for at in range(0, len(packed), pieces)]
    unpacker.finish()
    assert all(len(stretch) <= STRETCH for several in stretches for stretch in several)
    return b"".join(stretch for several in stretches for stretch in several)


@given(content=st.binary(max_size=500), coding=st.sampled_from(list(PACK)), pieces=st.integers(1, 99))
def test_what_was_packed_is_unpacked(content: bytes, coding: str, pieces: int) -> None:
    assert unpacked(coding, PACK[coding](content), pieces) == content


@pytest.mark.parametrize("coding", PACK)
def test_what_becomes_large_comes_in_stretches_up_to_the_limit(coding: str) -> None:
    content = bytes(3 * STRETCH + 5)
    assert unpacked(coding, PACK[coding](content), 10**6) == content
    assert unpacked(coding, PACK[coding](content), max_bytes=len(content)) == content
    with pytest.raises(RequestEntityTooLarge):
        unpacked(coding, PACK[coding](content), max_bytes=len(content) - 1)


@pytest.mark.parametrize("coding", PACK)
def test_what_is_cut_off_is_refused(coding: str) -> None:
    packed = PACK[coding](b"prompt=a dog")
    for end in range(1, len(packed)):
        with pytest.raises(RequestError, match=r"cut off|not compressed"):
            unpacked(coding, packed[:end])


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", b"prompt=a dog"),
        ("gzip", zlib.compress(b"a")),
        ("gzip", gzip.compress(b"a", mtime=0) + b"more"),
        ("gzip", gzip.compress(b"a", mtime=0)[:-5] + b"\0" * 5),
        ("gzip", gzip.compress(b"", mtime=0) * 1000),
        ("deflate", gzip.compress(b"a", mtime=0)),
        ("deflate", zlib.compress(b"a") * 2),
    ],
)
def test_what_is_not_what_the_header_says_is_refused(coding: str, packed: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        unpacked(coding, packed)
    assert refusal.value.status == 400


def test_members_of_gzip_are_one_body() -> None:
    assert unpacked("gzip", gzip.compress(b"a", mtime=0) + gzip.compress(b"b"), 1) == b"ab"


@pytest.mark.parametrize("coding", [None, "", "identity", " Identity , identity"])
def test_what_is_not_packed_stays(coding: str | None) -> None:
    assert unpacked(coding, b"prompt=a dog") == b"prompt=a dog"


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate,gzip", "compress", "gzip;q=1"])
def test_other_codings_are_named(coding: str) -> None:
    with pytest.raises(UnsupportedCoding, match=coding.split(",")[0].split(";")[0]):
        find_unpacker(coding)


def packed_post(client: FlaskClient, body: bytes, coding: str = "gzip") -> TestResponse:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": coding}
    return client.post("/txt2img", data=body, headers=headers)


def test_a_form_that_is_packed_without_saying_so_is_refused_in_words(client: FlaskClient) -> None:
    answer = packed_post(client, gzip.compress(b"prompt=a dog"), "identity")
    assert answer.status_code == 400
    assert answer.get_json()["message"].endswith("say so, with the header Content-Encoding: gzip.")


def test_other_codings_get_those_that_there_are(client: FlaskClient) -> None:
    answer = packed_post(client, b"prompt=a dog", "br")
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert answer.get_json()["status"] == "failure"


def test_tasks_and_images_may_be_packed(client: FlaskClient) -> None:
    ann, picture = TaskClient(client), png(photograph(64, 64))
    headers = {"Content-Encoding": "gzip"}
    sent = ann.call("POST", "/blob", data=gzip.compress(picture), content_type="image/png", headers=headers)
    assert ann.call("GET", f"/blob/{sent.get_json()}").get_data() == picture
    json = {"content_type": "application/json", "headers": headers}
    refused = ann.call("POST", "/task", data=gzip.compress(b'{"prompt": "a dog", "steps": 0}'), **json)
    assert refused.get_json()["detail"][0]["loc"] == ["body", "steps"]
    large = ann.call("POST", "/task", data=gzip.compress(b" " * 1_000_000), **json)
    assert large.status_code == 413
    other = ann.call("POST", "/task", data=b"{}", content_type="application/json", headers={"Content-Encoding": "br"})
    assert (other.status_code, other.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert "detail" in other.get_json()
