"""From the declaration of the operations to a description of a dialect's fields, for forms and for documentation."""

from dataclasses import MISSING
from typing import Any

from sd_api.generation.fields import Field, Param, fields_of
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.settings import Limits


def describe_fields(dialect: Dialect, limits: Limits) -> dict[str, dict[str, Any]]:
    """Describe every field that a dialect has, by its name there.

    Args:
        dialect: The dialect.
        limits: What may be asked for.

    Returns:
        For each field: ``modes``, the names of the operations that have it; ``label``, ``description`` and
        ``control``; and, as far as it has them, ``default``, ``minimum``, ``maximum``, ``max_length``, ``step``,
        ``slider_maximum``, ``unit``, ``choices``, ``choice_labels``, ``names``,
        ``requires``, ``acts_with``, ``png_key``, and ``entries``: the fields of each entry, described likewise.
    """
    described: dict[str, dict[str, Any]] = {}
    for name, operation in OPERATIONS.items():
        for declared in dialect.fields(operation):
            own = dialect.name(declared.name)
            if own not in described:
                described[own] = {"modes": [], **_described(dialect, declared, limits)}
            described[own]["modes"].append(name)
    return described


def _described(dialect: Dialect, declared: Field, limits: Limits) -> dict[str, Any]:
    param, default = declared.param, dialect.default(declared)
    always = {"label": param.label, "description": dialect.description(declared), "control": param.control}
    with_default = {} if default is MISSING else {"default": default}
    sometimes = {
        "minimum": param.low,
        "maximum": param.highest(limits),
        "max_length": None if param.longest is None else getattr(limits, param.longest),
        "step": param.step,
        "slider_maximum": param.slider_high,
        "unit": param.unit,
        "choices": param.choices,
        "names": param.names,
        "choice_labels": dict(zip(param.choices or (), param.labels, strict=False)) or None,
        "requires": param.requires,
        "acts_with": _acts_with(dialect, param),
        "png_key": param.png_key,
        "entries": _entries(dialect, declared, limits),
    }
    return always | with_default | {name: value for name, value in sometimes.items() if value is not None}


def _entries(dialect: Dialect, declared: Field, limits: Limits) -> dict[str, Any] | None:
    if declared.entry is None:
        return None
    return {each.name: _described(dialect, each, limits) for each in fields_of(declared.entry)}


def _acts_with(dialect: Dialect, param: Param) -> dict[str, tuple[str, ...]] | None:
    if param.acts_with is None:
        return None
    field, values = param.acts_with
    return {dialect.name(field): values}
