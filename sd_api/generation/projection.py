"""From the declaration of an operation to what a dialect takes: one pydantic model for validation and for OpenAPI.

A dialect says how it names the fields, which defaults it gives and what it leaves out. What a field means and which
values it may have is declared in ``operations.py``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FiniteFloat,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as ModelField

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits, RequestError
from sd_api.generation.entries import entries_in
from sd_api.generation.fields import Field, Param, fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.reading import Reading, opens
from sd_api.generation.refusals import refusal
from sd_api.generation.seeds import MAX_SEED
from sd_api.generation.spec import JobSpec, Outputs

Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one dialect speaks of the fields.

    Attributes:
        names: Its name of each field that it does not call by its canonical name.
        defaults: Its default of each field that has another one, or none, in the declaration, by canonical names.
        stands_for_none: The numbers that mean that nothing is given, by canonical names; the model has None for them.
        left_out: The canonical names of the fields that it does not have.
        image: The type of a field that holds an image.
        image_form: What such a field holds, in words.
        image_example: What such a field holds for a PNG file that is an example.
        as_text: Whether a field with entries is the text of their JSON, as in a form.
    """

    names: Mapping[str, str]
    defaults: Mapping[str, Any]
    stands_for_none: Mapping[str, frozenset[int]] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    image: Any
    image_form: str
    image_example: Callable[[bytes], str]
    as_text: bool = False

    def name(self, canonical: str) -> str:
        """The dialect's name of a field."""
        return self.names.get(canonical, canonical)

    def default(self, declared: Field) -> Any:
        """The dialect's default of a field; ``dataclasses.MISSING`` where it must be given."""
        return self.defaults.get(declared.name, declared.default)

    def description(self, declared: Field) -> str:
        """What a field means, for documentation."""
        if declared.entry is not None:
            return f"{declared.param.description} Each image is {self.image_form}."
        sent = f" Sent as {self.image_form}." if declared.holds_image else ""
        return declared.param.description + sent

    def example(self, declared: Field) -> Any:
        """A valid value of a field, for documentation."""
        example = declared.param.example
        if declared.param.names is not None and not declared.required:
            # What a name stands for may not be there, so none can be tried out as it stands.
            return "" if self.as_text else None
        if declared.entry is not None:
            return json.dumps(example) if self.as_text else list(example)
        return self.image_example(example) if declared.holds_image else example

    def fields(self, operation: type[Operation]) -> tuple[Field, ...]:
        """What the dialect has of an operation's fields, the number of pictures and their seed included."""
        every = (*fields_of(operation), *fields_of(Outputs))
        return tuple(declared for declared in every if declared.name not in self.left_out)

    def model(self, operation: type[Operation], name: str, base: type[Form], **more: Any) -> type[Form]:
        """Make the model of the requests for an operation; it validates in the context of a ``Reading``.

        Args:
            operation: The operation.
            name: The model's name, which OpenAPI shows.
            base: A model with the configuration, and with the fields that the dialect alone has.
            more: Further such fields, as ``pydantic.create_model`` takes them.
        """
        # Fields are validated in this order, which decodes images. A coloured mask takes five times as much meanwhile
        # as afterwards, so masks come before the images that stay.
        ordered = sorted(self.fields(operation), key=lambda each: each.param.control != "mask")
        fields: dict[str, Any] = {self.name(each.name): self.model_field(each) for each in ordered}
        return create_model(name, __base__=base, __doc__=operation.__doc__, **more, **fields)

    def spec(self, operation: type[Operation], request: BaseModel, reading: Reading, *, model: str | None) -> JobSpec:
        """Make a job of a validated request.

        Args:
            operation: The operation whose model has validated it.
            request: What it validated.
            reading: The context in which it did.
            model: See JobSpec.

        Raises:
            InvalidFields: Fields do not fit each other; named as the dialect names them.
        """
        values = {declared.name: self._value(declared, request, reading) for declared in self.fields(operation)}
        given = request.model_fields_set
        left_open = [each.name for each in self.fields(operation) if self.name(each.name) not in given]
        outputs = Outputs(**{each.name: values.pop(each.name) for each in fields_of(Outputs) if each.name in values})
        try:
            return JobSpec.choose(
                operation,
                values,
                outputs,
                model=model,
                limits=reading.limits,
                warnings=reading.warnings,
                left_open=left_open,
            )
        except InvalidFields as error:
            raise InvalidFields([type(each)(self.name(each.field), each.problem) for each in error.faults]) from None

    def model_field(self, declared: Field) -> tuple[Any, Any]:
        """The type and the default of a field, as ``pydantic.create_model`` takes them."""
        default = self.default(declared)
        info: dict[str, Any] = {"description": self.description(declared), "examples": [self.example(declared)]}
        if declared.required and declared.name not in self.defaults:
            return self._type(declared), ModelField(**info)
        if declared.entry is not None:
            return self._entries_type(declared), ModelField(default_factory=list, **info)
        kind = self._type(declared)
        if default in self.stands_for_none.get(declared.name, ()):
            return kind, ModelField(default=default, validate_default=True, **info)
        # None is valid where it is the default.
        return (kind | None if default is None else kind), ModelField(default=default, **info)

    def _type(self, declared: Field) -> Any:
        param = declared.param
        (plain,) = set(get_args(declared.type) or (declared.type,)) - {NoneType}
        if declared.holds_image:

            def keep(_value: Any, image: ImageRef, reading: Reading) -> None:
                reading.images[declared.name] = image

            return Annotated[self.image, AfterValidator(opens(declared, self.name(declared.name), keep))]
        nones = self.stands_for_none.get(declared.name, frozenset())
        extra = ModelField(json_schema_extra=_schema(param, nones))
        within = AfterValidator(_lies_within(param, nones))
        if plain is str:
            text = Annotated[str, StringConstraints(strip_whitespace=True), extra, within]
            # Programs send a name that was not chosen as an empty one.
            may_be_empty = param.names is not None and not declared.required
            return Annotated[text, AfterValidator(lambda name: name or None)] if may_be_empty else text
        return Annotated[FiniteFloat if plain is float else plain, extra, within]

    def _entries_type(self, declared: Field) -> Any:
        """The type of a field with entries: a list of models, from whichever form a client sends."""

        def keep(value: Any, image: ImageRef, reading: Reading) -> None:
            reading.listed[value] = image

        def several(value: Any, info: ValidationInfo) -> list[Any]:
            reading: Reading = info.context  # type: ignore[assignment]
            try:
                entries = entries_in(value)
            except ValueError as error:
                raise refusal(InvalidField("", str(error))) from None
            except RequestError as error:
                raise type(error)(f"{self.name(declared.name)}: {error.message}") from None
            if problem := declared.param.problem(tuple(entries), reading.limits):
                raise refusal(OutOfLimits("", problem))
            return entries

        fields: dict[str, Any] = {each.name: self.model_field(each) for each in fields_of(declared.entry)}
        image = next(each for each in fields_of(declared.entry) if each.holds_image)
        decoded = opens(image, f"{self.name(declared.name)}.{image.name}", keep)
        kind: Any = Annotated[self.image, AfterValidator(decoded)]
        fields[image.name] = kind if image.required else kind | None, fields[image.name][1]
        entry = create_model(declared.entry.__name__, __config__=ConfigDict(frozen=True, extra="forbid"), **fields)
        schema: dict[str, Any] = {"type": "string"}
        if not self.as_text:
            schema = {"type": "array", "items": entry.model_json_schema(), "maxItems": declared.param.high}
        return Annotated[list[entry], BeforeValidator(several), WithJsonSchema(schema)]  # type: ignore[valid-type]

    def _value(self, declared: Field, request: BaseModel, reading: Reading) -> Any:
        if declared.entry is not None:
            return tuple(_entry(declared.entry, each, reading) for each in getattr(request, self.name(declared.name)))
        if declared.name in reading.images:
            return reading.images[declared.name]
        return getattr(request, self.name(declared.name))


def _schema(param: Param, nones: frozenset[int]) -> dict[str, Any]:
    """What JSON Schema can say of a field's range; what depends on the configuration is not in it."""
    schema: dict[str, Any] = {}
    if param.low is not None:
        schema["minimum"] = min((param.low, *nones))
    if param.high == MAX_SEED:
        # The number that follows is a power of two, which is exact where numbers of a schema are floats.
        schema["exclusiveMaximum"] = MAX_SEED + 1
    elif param.high is not None and not isinstance(param.high, str):
        schema["maximum"] = param.high
    if param.choices is not None:
        schema["enum"] = list(param.choices)
    return schema


def _lies_within(param: Param, nones: frozenset[int]) -> Callable[[Any, ValidationInfo], Any]:
    def check(value: Any, info: ValidationInfo) -> Any:
        if value in nones:
            return None
        if param.find is not None:
            value = param.find(value) or value
        reading: Reading = info.context  # type: ignore[assignment]
        if problem := param.problem(value, reading.limits):
            raise refusal(OutOfLimits("", problem))
        return value

    return check


def _entry(kind: Any, entry: BaseModel, reading: Reading) -> Any:
    values = {each.name: (getattr(entry, each.name), each.holds_image) for each in fields_of(kind)}
    return kind(**{name: reading.listed.get(value) if image else value for name, (value, image) in values.items()})
