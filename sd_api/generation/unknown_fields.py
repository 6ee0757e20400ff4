"""What to say of fields that a request has and its dialect does not know, so that a misspelt one is noticed."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from sd_api.generation.operation import Operation, OperationName
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect

# Fields that are named one by one; the others are counted.
MOST_NAMED = 20

# Characters of a name that are looked at and shown.
LONGEST = 40

# What is shown as it is, and what can be a spelling of a name.
_NAME = rf"[\w.-]{{1,{LONGEST}}}"
_SPELLING = rf"[\w .-]{{1,{LONGEST}}}"

# By canonical names: programs with one form for all operations send these with each of them, so they need no word.
IN_EVERY_FORM = frozenset({"width", "height", "strength"})

# How alike two names are that may be the same one misspelt, 0 to 1, see difflib.
ALIKE = 0.75


def unknown_fields(
    dialect: Dialect, operation: type[Operation], names: Collection[str], known: Collection[str]
) -> list[str]:
    """Say of each field that a request should not have that it was ignored, and which one is meant.

    Args:
        dialect: The dialect of the request.
        operation: The operation of the request.
        names: The names of the fields that it has.
        known: The names of the fields that a request for this operation may have.

    Returns:
        A sentence for each of the first unknown fields, and one for all further ones.
    """
    unused = {dialect.name(name) for name in IN_EVERY_FORM}
    unknown = [name for name in names if name not in known and name not in unused]
    if not unknown:
        return []
    meanings, modes = _meanings(dialect, operation), _modes(dialect)
    sentences = [_sentence(name, operation, meanings, modes) for name in unknown[:MOST_NAMED]]
    if rest := len(unknown) - len(sentences):
        sentences.append(f"{rest} more fields are not known here and were ignored")
    return sentences


def meant_field(dialect: Dialect, name: str) -> str | None:
    """The field of any operation that a name which the dialect does not know stands for, or None.

    Args:
        dialect: The dialect of the request.
        name: What the request has.
    """
    return _meant(name, _meanings(dialect, Operation))


def _meant(name: str, meanings: Mapping[str, str]) -> str | None:
    key = _key(name)
    alike = [key] if key in meanings else get_close_matches(key, meanings, n=1, cutoff=ALIKE)
    return meanings[alike[0]] if alike else None


def _sentence(
    name: str, operation: type[Operation], meanings: Mapping[str, str], modes: Mapping[str, list[OperationName]]
) -> str:
    if name in modes:
        return f"{name} has no effect on {operation.name} and was ignored; it is for {' and '.join(modes[name])}"
    ignored = f"{name if re.fullmatch(_NAME, name) else repr(name[:LONGEST])} is not known here and was ignored"
    if not re.fullmatch(_SPELLING, name):
        return ignored
    if (meant := _meant(name, meanings)) is None:
        return ignored
    placed = _placed(meant, operation, modes)
    return f"{ignored}; use {placed}" if _key(name) in meanings else f"{ignored}; perhaps {placed} is meant"


def _placed(field: str, operation: type[Operation], modes: Mapping[str, list[OperationName]]) -> str:
    return field if operation.name in modes[field] else f"{field} with {' or '.join(modes[field])}"


def _meanings(dialect: Dialect, operation: type[Operation]) -> dict[str, str]:
    """Every name that a field has anywhere, with its name in the dialect; a field of the operation goes first."""
    meanings: dict[str, str] = {}
    for each in (operation, *OPERATIONS.values()):
        for field in dialect.fields(each):
            own, param = dialect.name(field.name), field.param
            for name in (own, field.name, param.label, param.png_key or own, *param.aliases):
                meanings.setdefault(_key(name), own)
    return meanings


def _modes(dialect: Dialect) -> dict[str, list[OperationName]]:
    """The operations that have a field, by its name in the dialect."""
    modes: dict[str, list[OperationName]] = {}
    for name, operation in OPERATIONS.items():
        for field in dialect.fields(operation):
            modes.setdefault(dialect.name(field.name), []).append(name)
    return modes


def _key(name: str) -> str:
    """What the spellings of a name have in common, such as ``cfg_scale``, ``cfgScale`` and "CFG scale"."""
    return re.sub(r"[\W_]", "", name.casefold())
