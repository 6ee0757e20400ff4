"""Values for every field of every operation, so that a test needs to know no field by its name."""

from typing import Any, get_args

from pictures import photograph, png

from sd_api.generation.fields import Field, fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits

LIMITS = Limits()


def unusual(field: Field) -> Any:
    """A valid value that is not the field's default."""
    param = field.param
    if field.entry is not None:
        return (field.entry(**{each.name: unusual(each) for each in fields_of(field.entry)}),)
    if field.holds_image:
        kind: Any = "mask" if param.control == "mask" else "image"
        return ImageRef(
            content=png(photograph(70, 90)), kind=kind, field=f"their_{field.name}", max_pixels=LIMITS.max_image_pixels
        )
    if param.choices is not None:
        return param.choices[-1]
    if param.check is not None:
        # Only an example can say what a text with a form of its own looks like.
        assert param.example is not None
        return param.example
    kind = next(iter(get_args(field.type) or (field.type,)))
    if kind is bool:
        return field.default is False
    if kind is str:
        return f"a {field.name}, „odd“: 7\nof two lines"
    high = param.highest(LIMITS)
    assert param.low is not None
    assert high is not None
    middle = kind(min(high, param.low + 1000) - (high - param.low) / 3)
    return max(kind(param.low), middle)


def asked(operation: type[Operation], **changes: Any) -> JobSpec:
    """A job in which no field has its default."""
    values = {field.name: unusual(field) for field in fields_of(operation)} | changes
    seeds: dict[str, Any] = {"seeds": (7, 7), "variation_seeds": (8, 9)}
    return JobSpec(
        operation=operation(**values, limits=LIMITS),
        model="folder/other",
        warnings=("a warning",),
        limits=LIMITS,
        **seeds,
    )
