"""The table of ``docs/families.md``; ``python -m sd_api.models.families.table`` writes it anew."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from sd_api.models.families.registry import FAMILIES
from sd_api.models.families.transformer import Published, TransformerFamily

BEGIN = "<!-- The families, written by python -m sd_api.models.families.table -->"
END = "<!-- End of the families -->"

_HEAD = ("family", "pipelines of diffusers", "operations", "guidance", "steps", "negative prompt", "schedulers")
_MEANINGS = {"classifier-free": "classifier-free", "distilled": "an input", "none": "none"}


def document(path: Path) -> str:
    """What ``docs/families.md`` should hold."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table()}\n{END}{after}"


def _table() -> str:
    families = [family for family in FAMILIES if isinstance(family, TransformerFamily)]
    rows = [_HEAD, ("---",) * len(_HEAD), *(row for family in families for row in _rows(family))]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows(family: TransformerFamily) -> Iterator[tuple[str, ...]]:
    def published(name: str) -> Published:
        return family.pipelines[name]

    for what, names in groupby(family.pipelines, key=published):
        yield (
            family.name,
            ", ".join(f"`{name}`" for name in names),
            ", ".join(f"`{mode}`" for mode in what.modes),
            f"{_MEANINGS[family.guidance]}, {what.guidance:g}",
            str(what.steps),
            "acts" if "negative_prompt" in family.capabilities else "–",
            ", ".join(f"`{name}`" for name in family.schedulers) or "its own",
        )


if __name__ == "__main__":
    docs = Path(__file__).resolve().parents[3] / "docs" / "families.md"
    docs.write_text(document(docs), encoding="utf-8")
