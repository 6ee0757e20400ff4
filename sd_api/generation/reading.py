"""The context in which a dialect's model validates one request, and how its validators refuse."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import ErrorDetails, PydanticCustomError

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.settings import Limits

# The types of pydantic's errors that are ours.
_MALFORMED: Final = "malformed_field"
OUT_OF_LIMITS: Final = "out_of_limits"


@dataclass(kw_only=True)
class Reading:
    """The context in which a dialect's model validates one request.

    Attributes:
        limits: What may be asked for.
        content: Gives the bytes of an image, from its field's name in the dialect and its value there; raises
            InvalidField where it cannot.
        opened: The images that have been read and decoded, and the controls with theirs, by the canonical names of
            their fields.
        warnings: What the answer has to say of the request, as sentences.
    """

    limits: Limits
    content: Callable[[str, Any], bytes]
    opened: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def refusal(error: InvalidField) -> PydanticCustomError:
    """The error by which a validator tells pydantic of a fault; pydantic knows which field it is."""
    if isinstance(error, OutOfLimits):
        return PydanticCustomError(OUT_OF_LIMITS, "{problem}", {"problem": error.problem})
    return PydanticCustomError(_MALFORMED, "{problem}", {"problem": error.problem})


def is_refusal(details: ErrorDetails) -> bool:
    """Whether an error of pydantic is one that ``refusal`` made."""
    return details["type"] in (_MALFORMED, OUT_OF_LIMITS)
