"""What came is shown in messages at a cost that does not depend on its size."""

import tracemalloc
from typing import Any

import pytest

from sd_api.generation.refusals import LONGEST_SHOWN, in_short, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("high", "'high'"),
        ("x" * 41, repr("x" * 40 + "…")),
        (None, "None"),
        (True, "True"),
        ([1, 2], "[1, 2]"),
        ({"a": None}, "{'a': None}"),
        (10**60, "1" + "0" * 18 + "..." + "0" * 18 + "…"),
    ],
)
def test_what_came_is_shown(value: Any, expected: str) -> None:
    assert shown(value)[:20] == expected[:20]
    assert len(shown(value)) <= LONGEST_SHOWN + 3


@pytest.mark.parametrize("inside", [lambda text: text, lambda text: {"more": text}, lambda text: [[text], text]])
def test_no_copy_of_a_large_value_is_made(inside: Any) -> None:
    value = inside("a " * 1_000_000)
    tracemalloc.start()
    try:
        assert len(in_short(value)) <= LONGEST_SHOWN + 1
        assert len(shown(value)) <= LONGEST_SHOWN + 3
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()
