"""What the fields with several images hold, in every form, and what costs more than it says."""

import json
import tracemalloc
from typing import Any

import pytest

from sd_api.errors import RequestError
from sd_api.generation.entries import MOST, entries_in
from sd_api.imaging.json_text import TooManyFields

ENTRY = {"image": "QUJD", "weight": 0.5}


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("", []),
        (" QUJD ", [{"image": "QUJD"}]),
        (json.dumps(ENTRY), [ENTRY]),
        (json.dumps(["QUJD", ENTRY]), [{"image": "QUJD"}, ENTRY]),
        (["QUJD", json.dumps([ENTRY, ENTRY]), ""], [{"image": "QUJD"}, ENTRY, ENTRY]),
        ([None], [{"image": None}]),
    ],
)
def test_entries_come_in_several_forms(value: Any, entries: list[Any]) -> None:
    assert entries_in(value) == entries


def test_a_long_picture_within_json_is_read_as_it_is() -> None:
    picture = "QUJD" * 400_000
    entries = entries_in(json.dumps([picture, {**ENTRY, "image": picture}]))
    assert [{**entry, "image": entry["image"][:]} for entry in entries] == [
        {"image": picture},
        {**ENTRY, "image": picture},
    ]


def nested(depth: int) -> Any:
    value: Any = "QUJD"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        ("[" + '"a",' * 2_000_000 + '"a"]', TooManyFields, "more than 1000 values"),
        ("[" + "[],[]," * 1_000_000 + "[]]", TooManyFields, "more than 1000 values"),
        ("[" * 900 + "]" * 899, ValueError, "no valid JSON"),
        ('["' + "\\u0041" * 1_000_000 + '狗"]', RequestError, "is not plain"),
        (['["a","b"]'] * MOST, ValueError, "more than 1000 entries"),
        ("[1", ValueError, "no valid JSON"),
    ],
)
def test_what_costs_more_than_its_size_is_refused(value: Any, error: type[Exception], reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(error, match=reason):
            entries_in(value)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_lists_in_lists_are_no_matter_of_depth() -> None:
    assert entries_in(nested(5000)) == [{"image": "QUJD"}]
