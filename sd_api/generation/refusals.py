"""How validators tell pydantic of our faults, and pydantic tells of them to a dialect."""

from collections.abc import Callable
from reprlib import Repr
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.long_text import LongText

# The types of pydantic's errors that are ours.
_MALFORMED: Final = "malformed_field"
_OUT_OF_LIMITS: Final = "out_of_limits"

LONGEST_SHOWN = 40
"""Characters of what came that a message shows."""

_SHORT = Repr()
_SHORT.maxlong = _SHORT.maxother = _SHORT.maxstring = LONGEST_SHOWN + 1


def in_short(value: object) -> str:
    """The beginning of ``str(value)``, without a text of the whole, which for 60 MB takes twice as much."""
    text = value if isinstance(value, str) else _SHORT.repr(value)
    return text[: LONGEST_SHOWN + 1]


def shown(value: object) -> str:
    """A value of any size as a message shows it: texts in quotation marks, and "…" where it goes on."""
    text = in_short(value)
    text = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    return repr(text) if isinstance(value, str) else text


def wrong_type(error: ErrorDetails) -> str:
    """What is wrong with a value that has the wrong type, in pydantic's words; see ``faults_in``."""
    if error["type"] == "missing":
        return "is missing"
    return f"is {shown(error['input'])}; {error['msg'][0].lower()}{error['msg'][1:]}"


def faults_in(error: ValidationError, malformed: Callable[[ErrorDetails], str]) -> list[InvalidField]:
    """The faults that a dialect's model has found, with their fields' names in the dialect.

    Args:
        error: What it raised.
        malformed: Says what is wrong with a value that has the wrong type, as the end of a sentence that begins with
            the field's name.
    """
    return [_fault(details, malformed) for details in error.errors(include_url=False)]


def refusal(error: InvalidField) -> PydanticCustomError:
    """The error by which a validator tells pydantic of a fault; pydantic knows which field it is."""
    if isinstance(error, OutOfLimits):
        return PydanticCustomError(_OUT_OF_LIMITS, "{problem}", {"problem": error.problem})
    return PydanticCustomError(_MALFORMED, "{problem}", {"problem": error.problem})


def is_refusal(details: ErrorDetails) -> bool:
    """Whether an error of pydantic is one that ``refusal`` made."""
    return details["type"] in (_MALFORMED, _OUT_OF_LIMITS)


def _fault(details: ErrorDetails, malformed: Callable[[ErrorDetails], str]) -> InvalidField:
    field = ".".join(map(str, details["loc"]))
    if isinstance(details["input"], LongText) and not is_refusal(details):
        return OutOfLimits(field, details["input"].problem)
    if details["type"] == _OUT_OF_LIMITS:
        return OutOfLimits(field, details["msg"])
    return InvalidField(field, details["msg"] if is_refusal(details) else malformed(details))
