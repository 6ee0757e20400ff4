"""The parts of ``docs/`` that follow from the code; ``python -m sd_api.web.docs`` writes them anew."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from sd_api.generation.fields import Field, fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.models.memory_plan import plan_memory
from sd_api.models.memory_values import Machine, MemoryPlan, Wishes
from sd_api.models.model_sizes import ModelSizes
from sd_api.models.published import PUBLISHED
from sd_api.settings import Limits
from sd_api.tasks.parameters import KINDS, TASKS
from sd_api.web.a1111.forms import A1111, NO_EFFECT, REFUSED
from sd_api.web.openai.forms import OPENAI
from sd_api.web.openapi import as_yaml
from sd_api.web.plugin.forms import PLUGIN

BEGIN = "<!-- The fields, written by python -m sd_api.web.docs -->"
END = "<!-- End of the fields -->"

# The calls of A1111's API that make each operation.
_A1111_CALLS = {
    "txt2img": "`txt2img`",
    "img2img": "`img2img`",
    "masking": "`img2img` with a mask",
    "edit": "`img2img` by instruction",
}

# The calls of OpenAI's API that make each operation.
_OPENAI_CALLS = {
    "txt2img": "`generations`",
    "img2img": "`edits`, `variations`",
    "masking": "`edits` with a mask",
    "edit": "`edits` by instruction",
}

CARDS = (4, 6, 8, 12, 16, 24)
"""The memory of the cards in the table of ``docs/models.md``, in GiB."""

_GIB = 2**30
_PLACES = {"resident": "all", "by_stage": "by stage", "grouped": "streamed"}

_TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}


def documents(folder: Path) -> dict[Path, str]:
    """What each file should hold that is written by this module, wholly or in part.

    Args:
        folder: The folder ``docs``.
    """
    plugin = _table(PLUGIN, {name: f"`/{name}`" for name in OPERATIONS})
    tasks = _table(TASKS, {operation.name: f"`{kind}`" for kind, operation in KINDS.items()})
    a1111 = _table(A1111, _A1111_CALLS) + _not_understood()
    openai = _table(OPENAI, _OPENAI_CALLS)
    return {
        folder / "openapi.yml": as_yaml(),
        folder / "api.md": _with_part(folder / "api.md", plugin),
        folder / "a1111.md": _with_part(folder / "a1111.md", a1111),
        folder / "openai.md": _with_part(folder / "openai.md", openai),
        folder / "tasks.md": _with_part(folder / "tasks.md", tasks),
        folder / "models.md": _with_part(folder / "models.md", _what_runs_where()),
    }


def _what_runs_where() -> str:
    """The table of published models on cards of several sizes."""
    rows = [("model", "weights", *(f"{size} GB" for size in CARDS)), ("---",) * (2 + len(CARDS))]
    for name, sizes in PUBLISHED.items():
        plans = [plan_for_card(sizes, size) for size in CARDS]
        rows.append((name, f"{sizes.disk / 1e9:.1f} GB", *map(_way, plans)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def plan_for_card(sizes: ModelSizes, gigabytes: int) -> MemoryPlan:
    """How a model runs on an NVIDIA card of some GiB, as the table in ``docs/models.md`` says."""
    total = gigabytes * _GIB
    machine = Machine(
        kind="cuda",
        total=total,
        free=total - _GIB // 4,
        host_free=64 * _GIB,
        dtype="fp16",
        quantizers=frozenset({"int8", "nf4"}),
    )
    return plan_memory(sizes, machine, Wishes())


def _way(plan: MemoryPlan) -> str:
    if not plan.fits:
        return "smaller pictures only"
    words = [_PLACES[plan.placement], *([] if plan.quantization == "none" else [plan.quantization])]
    words += [f"tiles of {plan.tile}"] if plan.tile else []
    return f"{', '.join(words)} ({plan.peak / _GIB:.1f})"


def _with_part(path: Path, part: str) -> str:
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def _not_understood() -> str:
    """What A1111's API has beside the fields of this server."""
    silent = ", ".join(f"`{name}`" for name in NO_EFFECT)
    refused = ", ".join(f"`{name}` ({what})" for name, what in REFUSED.items())
    return (
        f"\nHave no effect: {silent}. Any other field is ignored as well and named in `warnings`; its value is neither "
        f"logged nor sent back.\n\nRefused, unless their value asks for nothing: {refused}.\n"
    )


def _table(dialect: Dialect, kinds: Mapping[str, str]) -> str:
    """A table of every field of a dialect.

    Args:
        dialect: The dialect.
        kinds: What it calls each operation.
    """
    used: dict[Field, list[str]] = {}
    for name, operation in OPERATIONS.items():
        for declared in dialect.fields(operation):
            used.setdefault(declared, []).append(kinds[name])
    rows = [("field", "used by", "type and default", "valid", "what it does"), ("---",) * 5]
    for declared, by in used.items():
        users = "all" if len(by) == len(kinds) else ", ".join(by)
        own = f"`{dialect.name(declared.name)}`"
        kind = f"{_type(dialect, declared)}, {_default(dialect, declared)}"
        rows.append((own, users, kind, _valid(dialect, declared), _meaning(declared)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _type(dialect: Dialect, declared: Field) -> str:
    if declared.entry is not None:
        return "JSON text, or the field several times" if dialect.as_text else "array"
    (plain,) = set(get_args(declared.type) or (declared.type,)) - {NoneType}
    return dialect.image_form if plain is ImageRef else _TYPES[plain]


def _default(dialect: Dialect, declared: Field) -> str:
    default: Any = dialect.default(declared)
    if default is MISSING:
        return "required"
    if default in (None, "", ()):
        return "none"
    return f"`{str(default).lower()}`" if isinstance(default, bool | str) else f"{default:g}"


def _valid(dialect: Dialect, declared: Field) -> str:
    nones = sorted(dialect.stands_for_none.get(declared.name, ()))
    chosen = [f"{' or '.join(map(str, nones))} for one that the server chooses"] if nones else []
    return "; ".join([*_ranges(declared), *chosen])


def _ranges(declared: Field) -> Iterator[str]:
    param, limits = declared.param, Limits()
    if param.choices is not None:
        yield ", ".join(f"`{choice}`" for choice in param.choices)
    if param.longest is not None:
        yield f"0 to {getattr(limits, param.longest)} characters"
    if declared.entry is not None:
        yield f"at most {param.highest(limits)} images; " + "; ".join(
            f"`{each.name}` {valid}" for each in fields_of(declared.entry) for valid in _ranges(each)
        )
    elif (highest := param.highest(limits)) is not None and param.low is not None:
        # Every digit of a whole number, and no ".0" of another.
        high = str(highest) if isinstance(highest, int) else f"{highest:g}"
        yield f"{param.low:g} to {high}{'' if param.unit is None else f' {param.unit}'}"
    if declared.holds_image:
        yield f"at most {limits.max_image_pixels:,} pixels"


def _meaning(declared: Field) -> str:
    needs = "" if declared.param.requires is None else f" Needs a model with `{declared.param.requires}`."
    return declared.param.description + needs


if __name__ == "__main__":
    for path, text in documents(Path("docs")).items():
        path.write_text(text, encoding="utf-8")
