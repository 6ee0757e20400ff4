"""docs/architecture.md names files that are there, and counts them right."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MOST = {"a field": 3, "a dialect": 4, "a family": 2, "an operation": 4, "a backend": 3}


def rows(heading: str) -> list[list[str]]:
    """The cells of each row of the table that begins with a heading."""
    table = TEXT[TEXT.index(f"| {heading} ") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def paths(cell: str) -> list[str]:
    """What stands in backticks and looks like a path of a file; endpoints begin with a slash."""
    return [name for name in re.findall(r"`([^`]+)`", cell) if re.fullmatch(r"\w[\w./-]*", name) and "/" in name]


def exists(path: str) -> bool:
    return any((root / path).exists() for root in (ROOT, ROOT / "sd_api", ROOT / "sd_api/web/studio/static"))


@pytest.mark.parametrize("row", rows("I want to …"), ids=lambda row: row[0])
def test_where_to_change_what_names_files_that_are_there(row: list[str]) -> None:
    named = paths(row[1])
    assert [path for path in named if not exists(path)] == []
    assert named or "where it is raised" in row[1] or ".py`" in row[1]


@pytest.mark.parametrize("row", rows("I want to add …"), ids=lambda row: row[0])
def test_what_is_counted_is_there_and_few(row: list[str]) -> None:
    what, count, which = row
    most = next(most for start, most in MOST.items() if what.startswith(start))
    assert int(count) <= most
    assert [path for path in paths(which) if not exists(path)] == []


def test_rooms_are_there() -> None:
    missing = [path for row in rows("room") for path in paths(row[0]) if not exists(path)]
    assert missing == []
