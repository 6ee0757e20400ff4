"""How validators tell pydantic of our faults, and pydantic tells of them to a dialect."""

from collections.abc import Callable
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.long_text import LongText

# The types of pydantic's errors that are ours.
_MALFORMED: Final = "malformed_field"
_OUT_OF_LIMITS: Final = "out_of_limits"


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
