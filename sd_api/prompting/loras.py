"""``<lora:name:0.8>``: the LoRAs that a prompt names."""

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sd_api.prompting.faults import PromptFault
from sd_api.prompting.moments import WHEN, When, when
from sd_api.prompting.prompt import Lora

_TAG = re.compile(r"<(?:lora|lyco):([^<>\n]*)>")
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
"""A weight. Digits match in one way only: a long row of them would otherwise be tried in as many as it has pairs."""
_NUMBER = re.compile(rf"\s*{NUMBER}\s*", re.ASCII)

MEANING = (
    "write <lora:name>, <lora:name:weight> or <lora:name:weight:weight in the text encoder>, and :from=0.2:to=0.6 for "
    "a part of the steps"
)


@dataclass(frozen=True)
class FoundLora:
    """A LoRA with its place in the text."""

    begin: int
    end: int
    lora: Lora


def find_loras(text: str, max_weight: float) -> list[FoundLora]:
    """The LoRAs that a text names, in their order; a backslash before ``<`` makes text of one.

    Args:
        text: A prompt.
        max_weight: The largest weight, and the negative of the smallest.

    Raises:
        PromptFault: One has no name, or a weight that is none.
    """
    matches = [match for match in _TAG.finditer(text) if not _is_escaped(text, match.start())]
    return [FoundLora(match.start(), match.end(), _lora(match, max_weight)) for match in matches]


def loras_of_json(text: str, max_weight: float) -> tuple[Lora, ...]:
    """The LoRAs of a JSON object such as ``{"sketch": 0.8, "style": [1, 0.5]}``.

    Raises:
        ValueError: It is something else; the text is the end of a sentence that begins with the field's name.
    """
    wrong = ValueError(
        f"is {text[:40]!r}; it must be a JSON object of names and weights from {-max_weight:g} to {max_weight:g}, such "
        'as {"sketch": 0.8, "style": [1, 0.5], "ink": {"weight": 1, "from": 0.2, "to": 0.6}}'
    )
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(values, dict):
        raise wrong
    found = [_of_json(name, value, max_weight) for name, value in values.items()]
    if None in found:
        raise wrong
    return tuple(lora for lora in found if lora is not None)


def _of_json(name: str, value: Any, max_weight: float) -> Lora | None:
    """A LoRA of its name and what stands behind it: a weight, two of them, or an object; None for anything else."""
    if isinstance(value, dict):
        if not value.keys() <= {"weight", "text_weight", "from", "to"}:
            return None
        weight = value.get("weight", 1.0)
        weights, moments = [weight, value.get("text_weight", weight)], (value.get("from", 0), value.get("to"))
    else:
        weights, moments = value if isinstance(value, list) else [value], (0, None)
    begin, end = moments
    if not name or len(weights) not in (1, 2) or not all(_is_weight(weight, max_weight) for weight in weights):
        return None
    if not _is_moment(begin) or not (end is None or _is_moment(end)):
        return None
    return Lora(name, float(weights[0]), float(weights[-1]), _moment(begin), None if end is None else _moment(end))


def _is_weight(value: object, max_weight: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= max_weight


def _is_moment(value: object) -> bool:
    """Whether a value is a number of steps, or a share of them with a point."""
    return not isinstance(value, bool) and (
        (isinstance(value, int) and 0 <= value < 1_000_000) or (isinstance(value, float) and 0 <= value <= 1)
    )


def _moment(value: float) -> When:
    return value if isinstance(value, int) else Fraction(str(value))


def _lora(match: re.Match[str], max_weight: float) -> Lora:
    name, *values = (value.strip() for value in match[1].split(":"))
    moments = dict(value.split("=", 1) for value in values if value.startswith(("from=", "to=")))
    values = [value for value in values if not value.startswith(("from=", "to="))]
    if not name or len(values) > 2:
        raise PromptFault(match.start(), MEANING)
    for word, moment in moments.items():
        if not WHEN.fullmatch(moment):
            raise PromptFault(match.start(), f"{word}={moment[:20]!r} is no share and no number of steps; {MEANING}")
    by_name: dict[str, float] = {}
    for value, place in zip(values, ("unet", "te"), strict=False):
        # Other programs' way, in which the order does not matter.
        named, _, number = value.rpartition("=")
        if named not in ("", "unet", "te") or not _NUMBER.fullmatch(number):
            raise PromptFault(match.start(), f"{value[:20]!r} is no weight; {MEANING}")
        if abs(float(number)) > max_weight:
            raise PromptFault(match.start(), f"a weight must be from {-max_weight:g} to {max_weight:g}")
        by_name[named or place] = float(number)
    weight = by_name.get("unet", 1.0)
    begin, end = (when(moments[word]) if word in moments else None for word in ("from", "to"))
    return Lora(name, weight, by_name.get("te", weight), begin or 0, end)


def _is_escaped(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
