"""The table of the families in the documentation is that of the code."""

from pathlib import Path

from sd_api.models.families.table import document


def test_the_table_is_that_of_the_families(repository: Path) -> None:
    path = repository / "docs" / "families.md"
    assert path.read_text(encoding="utf-8") == document(path), "run python -m sd_api.models.families.table"
