"""Bodies of every kind, as the request reads them."""

import io
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes, urlencode

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from task_client import TaskClient
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.test import stream_encode_multipart

from sd_api.errors import InvalidField, ServerError
from sd_api.imaging.json_text import TooManyFields
from sd_api.imaging.stretches import STRETCH
from sd_api.web.charsets import UnknownCharset
from sd_api.web.percent_encoding import unquote
from sd_api.web.reading import FormReader

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


def read(body: bytes, mimetype: str = URLENCODED, **options: str) -> MultiDict[str, str]:
    return FormReader(max_form_parts=1000).parse(io.BytesIO(body), mimetype, len(body), options)[1]


def plainly(text: str) -> str:
    """The same without halves of characters, which have no bytes."""
    return text.encode(errors="replace").decode()


def read_files(body: bytes, boundary: str) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
    _, form, files = FormReader(max_form_parts=1000).parse(
        io.BytesIO(body), MULTIPART, len(body), {"boundary": boundary}
    )
    return form, files


@given(pairs=st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=40)), min_size=1, max_size=9))
def test_what_was_encoded_is_read(pairs: list[tuple[str, str]]) -> None:
    plain = [(plainly(name), plainly(value)) for name, value in pairs]
    assert read(urlencode(plain).encode()) == MultiDict(plain)


@pytest.mark.parametrize(
    "body",
    [b"a=1&b=2", b"a", b"a=", b"=a", b"", b"a=b=c", b"a=%4", b"a=%", b"a=%zz%41", b"&&a=1&", b"a=%252f%%2F%2%2b41"],
)
def test_what_is_odd_is_read_as_before(body: bytes) -> None:
    _, before, _ = FormDataParser().parse(io.BytesIO(body), URLENCODED, len(body), {})
    assert read(body) == before


@pytest.mark.parametrize("before", range(4))
def test_an_escape_between_two_stretches_is_whole(before: int) -> None:
    body = b"a=" + b"x" * (STRETCH - before) + b"%2B%2F+" + b"y" * STRETCH
    assert read(body)["a"] == "x" * (STRETCH - before) + "+/ " + "y" * STRETCH


@given(
    fields=st.dictionaries(st.text("abc", min_size=1, max_size=5), st.text(max_size=50), max_size=5),
    content=st.binary(max_size=200),
)
def test_a_form_of_parts_is_read_with_its_files(fields: dict[str, str], content: bytes) -> None:
    fields = {name: plainly(value) for name, value in fields.items()}
    stream, _, boundary = stream_encode_multipart(fields | {"file": FileStorage(io.BytesIO(content), "a.png")})
    form, files = read_files(stream.read(), boundary)
    assert dict(form.items()) == fields
    assert files["file"].filename == "a.png"
    assert files["file"].read() == content


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n" + b"x" * 100_000,
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nno end",
        b"--b\r\nX: y\r\n\r\nno name\r\n--b--",
        b"--b\r\nX: y\rz\r\n\r\nno text\r\n--b--",
        b"nothing of the kind",
        b"",
        b"--b",
    ],
)
def test_parts_that_cannot_be_read_are_a_400(body: bytes) -> None:
    with pytest.raises(ServerError) as refusal:
        read(body, MULTIPART, boundary="b")
    assert refusal.value.status == 400


@pytest.mark.parametrize("boundary", ["", "ü", "x" * 1000])
def test_a_boundary_that_is_none_is_a_400(boundary: str) -> None:
    with pytest.raises(ServerError, match="names no boundary"):
        read(b"--b\r\n", MULTIPART, boundary=boundary)


def test_too_many_fields_are_a_413() -> None:
    part = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n"
    for body, mimetype in ((b"a=1&" * 1000, URLENCODED), (part * 1001 + b"--b--", MULTIPART)):
        with pytest.raises(TooManyFields, match="more than 1000 fields"):
            read(body, mimetype, boundary="b")


@given(text=st.lists(st.sampled_from([b"%", b"%4", b"4", b"a", b"F", b"g", b"%2B", b"+"])).map(b"".join))
def test_escapes_are_read_as_by_python(text: bytes) -> None:
    assert unquote(text) == unquote_to_bytes(text)


@pytest.mark.parametrize("body", [b"a=" + b"%41" * 1_000_000, b"%" * 1_000_000, b"a=" + b"A%0A" * 1_000_000])
def test_a_form_that_is_all_escapes_is_a_400(body: bytes) -> None:
    with pytest.raises(ServerError, match="is the % sign of an escape"):
        read(body)


def test_a_prompt_may_be_all_escapes_and_a_picture_may_have_those_of_base64() -> None:
    prompt, picture = "狗" * 4000, ("AB+/" + "A" * 60 + "\r\n") * 10_000
    form = read(urlencode({"prompt": prompt, "init_image": picture}).encode())
    assert (form["prompt"], form["init_image"]) == (prompt, picture)


@pytest.mark.parametrize("escape", [str.upper, str.lower])
def test_a_picture_may_be_all_signs_of_base64(escape: Callable[[str], str]) -> None:
    # As a white one without compression is.
    picture = "/+" * 500_000
    assert read(f"a={escape(quote(picture, safe=''))}".encode())["a"] == picture


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("iso-8859-1", b"caf%E9", "café"),
        ("ISO_8859-15", b"%A4", "€"),
        ("windows-1251", b"%F1%EE%E1%E0%EA%E0", "собака"),
        ("shift_jis", b"%8C%A2", "犬"),
        ("koi8-u", b"%D3%CF", "со"),
        ("gb18030", b"\xb9\xb7", "狗"),
        ("utf8", b"caf\xc3\xa9", "café"),
        ("", "狗".encode(), "狗"),
    ],
)
def test_a_declared_charset_is_used(charset: str, raw: bytes, text: str) -> None:
    assert read(b"prompt=" + raw, charset=charset)["prompt"] == text
    part = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n%s\r\n%s\r\n--b--'
    plain = unquote_to_bytes(raw)
    assert read(part % (b"", plain), MULTIPART, boundary="b", charset=charset)["prompt"] == text
    if charset:
        own = f"Content-Type: text/plain; charset={charset}\r\n".encode()
        assert read(part % (own, plain), MULTIPART, boundary="b")["prompt"] == text


@pytest.mark.parametrize("charset", ["klingon", "zlib", "rot13", "utf-7", "idna", "../os", "x" * 5000, "ü"])
def test_an_unknown_charset_is_named(charset: str) -> None:
    with pytest.raises(UnknownCharset, match="charset is '") as refusal:
        read(b"prompt=a", charset=charset)
    assert (refusal.value.status, repr(charset)[:30] in refusal.value.message) == (415, True)


@pytest.mark.parametrize(
    ("raw", "charset", "name"),
    [
        (b"caf\xe9", None, "UTF-8"),
        (b"caf%E9", None, "UTF-8"),
        (b"%ED%A0%80", "utf-8", "UTF-8"),
        (b"%81", "windows-1252", "WINDOWS-1252"),
        (b"%E9", "us-ascii", "US-ASCII"),
    ],
)
def test_bytes_that_the_charset_does_not_have_are_refused_by_field(raw: bytes, charset: str | None, name: str) -> None:
    options = {} if charset is None else {"charset": charset}
    with pytest.raises(InvalidField, match=f"^negative_prompt has bytes that are not {name};") as refusal:
        read(b"prompt=a&negative_prompt=" + raw, **options)
    assert refusal.value.field == "negative_prompt"


@pytest.mark.parametrize(
    ("body", "charset", "loc"),
    [
        ('{"prompt": "é", "steps": 0}'.encode("latin-1"), "iso-8859-1", ["body", "steps"]),
        ('{"prompt": "é", "steps": 0}'.encode("utf-16"), None, ["body", "steps"]),
        ('{"prompt": "é", "steps": 0}'.encode("utf-16"), "utf-16", ["body", "steps"]),
        ('{"prompt": "é", "negative_prompt": ""}'.encode("latin-1"), None, ["body", "prompt"]),
        ('{"prompt": "é", "negative_prompt": "caf\\u00e9'.encode() + b'\xe9"}', None, ["body", "negative_prompt"]),
        (b'{"prompt": "\x81"}', "windows-1252", ["body", "prompt"]),
        (b'{"prompt": "\xe9', None, ["body", "body"]),
    ],
)
def test_json_is_decoded_likewise(client: FlaskClient, body: bytes, charset: str | None, loc: list[str]) -> None:
    kind = "application/json" if charset is None else f"application/json; charset={charset}"
    answer = TaskClient(client).call("POST", "/task", data=body, content_type=kind)
    assert answer.status_code == 422
    (detail,) = answer.get_json()["detail"]
    assert detail["loc"] == loc
    assert loc == ["body", "steps"] or "has bytes that are not " in detail["msg"]


def test_json_of_an_unknown_charset_is_a_415(client: FlaskClient) -> None:
    answer = TaskClient(client).call("POST", "/task", data=b"{}", content_type="application/json; charset=klingon")
    assert (answer.status_code, "'klingon'" in answer.get_json()["detail"]) == (415, True)


def test_a_long_field_that_is_no_base64_is_named() -> None:
    with pytest.raises(ServerError, match="init_image is longer than 65536 bytes and is no plain text"):
        read(b"init_image=" + "😀".encode() + b"A" * 100_000)


@pytest.mark.parametrize("multipart", [False, True])
def test_a_large_form_is_not_copied(multipart: bool) -> None:
    body = bytearray(b"a=" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%2F" * 600_000)
    mimetype = URLENCODED
    if multipart:
        mimetype = MULTIPART
        body = bytearray(b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + body + b"\r\n--b--\r\n")
    stream = io.BytesIO()
    stream.write(body)
    size = len(body)
    del body
    stream.seek(0)
    tracemalloc.start()
    form = FormReader(max_form_parts=1000).parse(stream, mimetype, size, {"boundary": "b"})[1]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 0.2 * size
    assert form["a"][-5:] == ("AA%2F" if multipart else "AAAA/")
