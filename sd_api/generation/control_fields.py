"""The type of a field that holds controls: a list in JSON, or its text in a form."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FiniteFloat,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
)
from pydantic import Field as ModelField
from pydantic_core import from_json

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.controls import MAX_CONTROL_WEIGHT, Control, Resize
from sd_api.generation.fields import Field
from sd_api.generation.images import ImageRef
from sd_api.generation.reading import Reading, refusal
from sd_api.imaging.controls import KINDS, PREPROCESSORS

_STRICT = ConfigDict(frozen=True, extra="forbid")


def controls_type(declared: Field, name: str, image: Any, entry: str) -> Any:
    """The type of a dialect's field.

    Args:
        declared: The field.
        name: Its name in the dialect.
        image: The type of an image there.
        entry: What the dialect's description calls one entry; empty where the field is JSON text.
    """
    model: Any = _entry_model(entry or "Control", image)
    several: Any = tuple[model, ...]

    def opened(entries: Sequence[Any], info: ValidationInfo) -> Any:
        reading: Reading = info.context  # type: ignore[assignment]
        try:
            controls = tuple(_control(each, number, name, reading) for number, each in enumerate(entries, start=1))
            if problem := declared.param.problem(controls, reading.limits):
                raise OutOfLimits(name, problem)
        except InvalidField as error:
            raise refusal(error) from None
        reading.opened[declared.name] = controls
        return entries

    if entry:
        return Annotated[several, BeforeValidator(_of_text), AfterValidator(opened)]
    adapter: TypeAdapter[Any] = TypeAdapter(several)

    def read(text: str, info: ValidationInfo) -> str:
        if text:
            try:
                entries = adapter.validate_json(text)
            except ValidationError as error:
                raise refusal(InvalidField(name, _in_words(error))) from None
            opened(entries, info)
        return text

    return Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(read)]


def _entry_model(title: str, image: Any) -> type[BaseModel]:
    weight = ModelField(
        default=1.0, ge=0, le=MAX_CONTROL_WEIGHT, description="the factor of what it adds", examples=[0.8]
    )
    share: dict[str, Any] = {"ge": 0, "le": 1}
    return create_model(
        title,
        __config__=_STRICT,
        __doc__="A map that the picture is to follow.",
        model=(str, ModelField(max_length=200, description="the name of the ControlNet", examples=["canny"])),
        image=(image | None, ModelField(default=None, description="the image; that of the request itself without one")),
        preprocessor=(
            str,
            ModelField(
                default="none",
                description="what is made of the image first: " + ", ".join(PREPROCESSORS),
                examples=["canny"],
            ),
        ),
        weight=(FiniteFloat, weight),
        start=(
            FiniteFloat,
            ModelField(default=0.0, **share, description="the share of the steps after which it begins"),
        ),
        end=(FiniteFloat, ModelField(default=1.0, **share, description="the share of the steps after which it ends")),
        resize=(
            Resize,
            ModelField(
                default="stretch", description="how an image of another shape is brought to that of the picture"
            ),
        ),
        kind=(
            str | None,
            ModelField(
                default=None,
                description="what the map shows, for models that know several: " + ", ".join(KINDS),
                examples=["canny"],
            ),
        ),
    )


def _control(entry: Any, number: int, name: str, reading: Reading) -> Control:
    values = {field: getattr(entry, field) for field in type(entry).model_fields}
    image = None
    if values["image"] is not None:
        try:
            content = reading.content(name, values["image"])
            image = ImageRef(content=content, kind="image", field=name, max_pixels=reading.limits.max_image_pixels)
            image.pixels  # noqa: B018 - a damaged one is refused before its request goes further
        except InvalidField as error:
            raise type(error)(name, f"has in entry {number} an image that {error.problem}") from None
    return Control(**values | {"image": image})


def _of_text(value: Any) -> Any:
    """A list that came as its JSON text, as programs without JSON of their own send it."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value) if value.strip() else ()
    except ValueError:
        return value


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    number, *inner = first["loc"] or ("",)
    if not isinstance(number, int):
        return 'must be a JSON list of objects, such as [{"model": "canny", "preprocessor": "canny", "weight": 0.8}]'
    place = f" {inner[0]}" if inner else ""
    return f"has in entry {number + 1}{place} what cannot be used: {first['msg'][0].lower()}{first['msg'][1:]}"
