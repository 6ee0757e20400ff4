"""What is declared of a field of an operation, beside its type; everything else follows from this declaration."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from sd_api.settings import Limits

Value = TypeVar("Value", bound=Any)

Control = Literal["text", "line", "number", "slider", "choice", "switch", "image", "images", "mask", "seed"]


@dataclass(frozen=True, kw_only=True)
class Param:
    """The annotation of one field, ``Annotated[type, Param(...)]``.

    Attributes:
        label: Its name on a form, at most three words.
        description: For documentation and OpenAPI; its first sentence is also the placeholder of a text on a form.
        example: A valid value for documentation, with which a request may be tried out; of an image, a PNG file.
        low: The smallest number, or None.
        high: The largest number, or the name of the attribute of ``Limits`` that holds it, or None; of a field with
            entries, the most of them.
        longest: The name of the attribute of ``Limits`` with the most characters of a text, or None.
        choices: The valid texts; None where any text is valid.
        labels: What a form calls the choices, in their order; empty where it calls them by themselves.
        names: The list of ``/models`` that has the valid texts, such as ``vaes``; None where any text is valid.
        find: The one of the choices that another spelling means, or None; for names that other programs use.
        check: Says what is wrong with a value in a way that no other attribute here can express, as ``problem`` does.
        unit: The unit of a number, such as ``pixels``, or None.
        per_image: Whether rows of one batch may differ in this field. A field that is not marked is part of
            ``JobSpec.batch_key``: a forgotten mark costs a smaller batch, never a wrong picture.
        requires: The capability that a model needs for this field, see ``ModelAbilities``; None for every model.
        acts_with: The name of another field, and its values without which this one has no effect; or None.
        control: How a form shows it.
        step: The increment of a form's control, or None.
        slider_high: The upper end of a slider, where one up to ``high`` could not be set finely; or None.
        png_key: The key in the parameters text of a PNG file, or None where the text does not hold it.
        aliases: Its names in other programs; a request that uses one is answered with the right name.
    """

    label: str
    description: str
    example: Any
    low: float | None = None
    high: float | str | None = None
    longest: str | None = None
    choices: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()
    names: str | None = None
    find: Callable[[str], str | None] | None = None
    check: Callable[[Any, Limits], str | None] | None = None
    unit: str | None = None
    per_image: bool = False
    requires: str | None = None
    acts_with: tuple[str, tuple[str, ...]] | None = None
    control: Control = "number"
    step: float | None = None
    slider_high: float | None = None
    png_key: str | None = None
    aliases: tuple[str, ...] = ()

    def highest(self, limits: Limits) -> float | None:
        """The largest number that a configuration allows."""
        return getattr(limits, self.high) if isinstance(self.high, str) else self.high

    def problem(self, value: Any, limits: Limits) -> str | None:
        """Say what is wrong with a value of the right type, as the end of a sentence that begins with its name."""
        if value is None:
            return None
        if self.longest is not None and len(value) > (longest := getattr(limits, self.longest)):
            return f"has {len(value)} characters; at most {longest} are allowed"
        if self.check is not None and (problem := self.check(value, limits)) is not None:
            return problem
        if self.choices is not None and value not in self.choices:
            return f"is {value[:40]!r}; valid are {', '.join(self.choices)}"
        if isinstance(value, tuple):
            return None if len(value) <= (self.highest(limits) or 0) else f"has {len(value)}; at most {self.high} go"
        if self.low is not None and (highest := self.highest(limits)) is not None:
            return out_of_range(value, self.low, highest)
        return None


@dataclass(frozen=True)
class Field:
    """One field of an operation.

    Attributes:
        name: Its canonical name; dialects have names of their own.
        type: Its type without the annotation.
        param: What is declared of it.
        default: Its value where nothing is given; ``dataclasses.MISSING`` where it must be given.
    """

    name: str
    type: Any
    param: Param
    default: Any

    @property
    def holds_image(self) -> bool:
        """Whether its values are images."""
        return self.param.control in ("image", "mask")

    @property
    def entry(self) -> Any:
        """The class of its entries where its value is a tuple of images with what is said of them; else None.

        Such a class is declared as an operation is, and has the fields ``image`` and whichever it needs beside it.
        """
        return get_args(self.type)[0] if get_origin(self.type) is tuple else None

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING


def fields_of(operation: type) -> tuple[Field, ...]:
    """The fields of an operation, in the order of their declaration."""
    return _fields(operation)


@cache
def _fields(operation: type) -> tuple[Field, ...]:
    hints = get_type_hints(operation, include_extras=True)
    return tuple(
        Field(field.name, hints[field.name].__origin__, hints[field.name].__metadata__[0], field.default)
        for field in dataclasses.fields(operation)
    )


def derived(value: Any, kind: type[Value], **changes: Any) -> Value:
    """Make a valid operation or job of another one; its values are not compared with the limits of clients again.

    Args:
        value: What the other values are taken from.
        kind: What to make.
        changes: The values that differ, and those that ``value`` does not have.
    """
    made = object.__new__(kind)
    names = [field.name for field in dataclasses.fields(kind) if hasattr(value, field.name)]
    made.__dict__.update({name: getattr(value, name) for name in names} | changes)
    return made


def out_of_range(value: float, low: float, high: float) -> str | None:
    """Say that a number is outside a range, both ends included; None where it is inside."""
    # Written so that nan, which compares false with everything, is refused.
    return None if low <= value <= high else f"is {_shown(value)}; it must be from {_shown(low)} to {_shown(high)}"


def _shown(value: float) -> str:
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 20 else f"{text[:20]}…"
