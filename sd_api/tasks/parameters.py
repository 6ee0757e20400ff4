"""The parameters of a task: the task dialect's names and defaults for the fields, and its own fields."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails

from sd_api.errors import InvalidField
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.generation.reading import Reading
from sd_api.generation.refusals import refusal
from sd_api.generation.unknown_fields import IN_EVERY_FORM, meant_field
from sd_api.models.providers import CatalogModel

# 32 hexadecimal digits, in the groups of a UUID or without; small and capital letters are the same.
BLOB_ID = r"^[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}$"


def stored_id(text: str) -> str:
    """The id of a task or a blob as it is stored, from the form in which a client wrote it.

    Args:
        text: What came; anything that is no id comes back as it is, and so does the id of a preview.
    """
    return text.replace("-", "").lower() if re.match(BLOB_ID, text) else text


TASKS = Dialect(
    names={"image": "initial_image", "true_guidance": "true_cfg_scale"},
    defaults={
        "steps": 20,
        "guidance": 7.5,
        "scheduler": "plms",
        "strength": 0.8,
        "width": 512,
        "height": 512,
        "safety_filter": True,
    },
    stands_for_none={"seed": frozenset({-1}), "variation_seed": frozenset({-1})},
    image=Annotated[str, StringConstraints(pattern=BLOB_ID), AfterValidator(stored_id)],
    image_form="the id of a blob",
    # Ids are chosen by the server, so this one has to be replaced by that of an image of yours.
    image_example=lambda _: "52ab0c1d3e4f5a6b7c8d9e0f1a2b3c4d",
)


@dataclass(kw_only=True)
class TaskReading(Reading):
    """See Reading.

    Attributes:
        find_model: Finds a model by its provider and its name; raises InvalidField if there is none.
        model: The model that ``find_model`` has returned.
    """

    find_model: Callable[[str, str | None], CatalogModel]
    model: CatalogModel | None = None


class TaskParams(BaseModel):
    """The parameters that every kind of task has besides the fields of its operation.

    Numbers and booleans may come as texts, as clients of the original send them. An unknown field is refused, because
    it may be one that changes the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    task_type: str
    # Before model_id, whose validator needs it.
    model_provider: str = Field(
        default="huggingface",
        validate_default=True,
        max_length=50,
        description="huggingface, or local for a custom model by its url_path or a model in the folders by its name",
        examples=["huggingface"],
    )
    model_id: str | None = Field(
        default=None,
        validate_default=True,
        max_length=200,
        description="the model's name at its provider; null is the server's main model",
        examples=[None],
    )

    @field_validator("model_provider")
    @classmethod
    def _has_models(cls, provider: str, info: ValidationInfo) -> str:
        _found(provider, None, info)
        return provider

    @field_validator("model_id")
    @classmethod
    def _is_there(cls, model_id: str | None, info: ValidationInfo) -> str | None:
        if "model_provider" in info.data:
            _reading(info).model = _found(info.data["model_provider"], model_id, info)
        return model_id


def _reading(info: ValidationInfo) -> TaskReading:
    return cast("TaskReading", info.context)


def _found(provider: str, model_id: str | None, info: ValidationInfo) -> CatalogModel:
    try:
        return _reading(info).find_model(provider, model_id)
    except InvalidField as error:
        raise refusal(error) from None


_OWN_NAMES: Mapping[str, str] = {"masking": "inpaint"}

KINDS: Mapping[str, type[Operation]] = {_OWN_NAMES.get(name, name): operation for name, operation in OPERATIONS.items()}
"""The operation of each task_type."""

_MODELS = {"txt2img": "Txt2ImgParams", "img2img": "Img2ImgParams"}


def _model_name(kind: str) -> str:
    return _MODELS.get(kind, f"{kind.capitalize()}Params")


def _task_type(kind: str) -> Any:
    return Field(default=kind, description="what to do; it follows from the other fields if it is left out")


PARAMETERS: Mapping[str, type[TaskParams]] = {
    kind: TASKS.model(operation, _model_name(kind), TaskParams, task_type=(Literal[kind], _task_type(kind)))
    for kind, operation in KINDS.items()
}
"""The parameters of each task_type."""

# Parameters without task_type select it by the first of these fields that they have; without any, txt2img.
_KIND_BY_FIELD = {"mask": "inpaint", "extend": "inpaint", "image_guidance": "edit", "initial_image": "img2img"}

_UNUSED = {TASKS.name(name) for name in IN_EVERY_FORM}

_WHOLE_NUMBERS = {
    TASKS.name(declared.name)
    for operation in KINDS.values()
    for declared in TASKS.fields(operation)
    if declared.type in (int, int | None)
}


def parse_parameters(fields: Mapping[str, Any], reading: TaskReading) -> TaskParams:
    """Validate a task's parameters; their kind follows from the fields where ``task_type`` does not name it.

    A null means that nothing is given. The fraction of a number is cut off where a whole one is needed, as in the
    original.

    Args:
        fields: The fields that a client sent, or the stored parameters of a task.
        reading: The context of the validation; afterwards it has the images and the model.

    Raises:
        pydantic.ValidationError: Fields are missing or malformed; names all of them.
    """
    given = {name: _whole(name, value) for name, value in fields.items() if value is not None}
    kind = given.get("task_type")
    if kind is None:
        kind = next((kind for field, kind in _KIND_BY_FIELD.items() if field in given), "txt2img")
    if not isinstance(kind, str) or kind not in PARAMETERS:
        expected = {"expected": ", ".join(map(repr, PARAMETERS))}
        fault = InitErrorDetails(type="literal_error", loc=("task_type",), input=kind, ctx=expected)
        raise ValidationError.from_exception_data("task", [fault])
    unused = _UNUSED - PARAMETERS[kind].model_fields.keys()
    return PARAMETERS[kind].model_validate(
        {name: value for name, value in given.items() if name not in unused}, context=reading
    )


def unknown_parameter(name: str) -> str:
    """Say that a kind of task has no parameter of this name, and which one was probably meant."""
    kinds = [kind for kind, parameters in PARAMETERS.items() if name in parameters.model_fields]
    if kinds:
        return f"{name} is a parameter of {' and '.join(kinds)} only."
    known = {each for parameters in PARAMETERS.values() for each in parameters.model_fields}
    meant = meant_field(TASKS, name[:100]) or next(iter(get_close_matches(name[:100], known, n=1)), None)
    which = f"Did you mean {meant}?" if meant else f"Valid are {', '.join(sorted(known))}."
    return f"{name[:100]} is not a parameter of tasks. {which}"


def _whole(name: str, value: Any) -> Any:
    cut = name in _WHOLE_NUMBERS and isinstance(value, float) and math.isfinite(value)
    return int(value) if cut else value
