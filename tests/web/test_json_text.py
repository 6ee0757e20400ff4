"""JSON of every kind, as requests have it."""

import json
import tracemalloc
from typing import Any

import pytest
from flask import Flask

from sd_api.errors import ServerError
from sd_api.imaging.long_text import LongText
from sd_api.web.json_text import BoundedJson

PICTURE = "QUJD" * 400_000


def loads(text: bytes) -> Any:
    return BoundedJson(Flask(__name__)).loads(text)


def plain(value: Any) -> Any:
    """A value of a JSON, the texts of pictures in it as they are in a short one."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value[:] if isinstance(value, LongText) else value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_long_json_is_read_as_it_is(ascii_only: bool, encoding: str) -> None:
    content = {"狗": 'café 😀 \\ " \n', "image": PICTURE, "": "\u007f\u0080"}
    assert plain(loads(json.dumps(content, ensure_ascii=ascii_only).encode(encoding))) == content
    for unit in ("\\", '"', 'a"', "/\\\n", "ab\\/"):
        text = json.dumps([unit * 100_000, PICTURE, {unit * 3000: unit}]).replace("/", "\\/").encode()
        assert plain(loads(text)) == json.loads(text)
    escaped = json.dumps({"image": "AB+/" * 300_000}).replace("+", "\\u002B").encode()
    assert plain(loads(escaped)) == {"image": "AB+/" * 300_000}


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"a":' * 100_000, 400, "nested too deeply"),
        (b"[1," * 150_000, 413, "more than 200000 values"),
        (b'"' * 900_000, 413, "more than 200000 values"),
        (f'["😀{PICTURE}"]'.encode(), 400, "is not plain"),
        (f'["\\ud83d\\ude00{PICTURE}"]'.encode(), 400, "is not plain"),
        (json.dumps([PICTURE, *["狗" * 20_000] * 5], ensure_ascii=False).encode(), 400, "not ASCII have more than"),
        (b'{"a": ' + b"1" * 2_000_000 + b"}", 413, "bytes beside its texts"),
        (b'["' + b'aa", "' * 190_000 + b"b" * 1000 + b'"]', 413, "bytes beside its texts"),
        (f'{{"{PICTURE}": 1}}'.encode(), 400, "A name in the JSON has 1600000 characters"),
        (b'["' + b'\\"a' * 700_000 + b'"]', 413, "bytes beside its texts"),
        (f'["{PICTURE}"]'.encode("utf-16"), 400, "must be UTF-8"),
    ],
)
def test_json_that_costs_more_than_its_size_is_refused(text: bytes, status: int, reason: str) -> None:
    with pytest.raises(ServerError, match=reason) as refusal:
        loads(text)
    assert refusal.value.status == status


def test_one_emoji_beside_a_picture_costs_no_memory() -> None:
    text = f'{{"prompt": "😀", "image": "{PICTURE}"}}'.encode()
    tracemalloc.start()
    content = loads(text)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plain(content) == {"prompt": "😀", "image": PICTURE}
    # It stays where it is.
    assert most < 0.9 * len(text)
