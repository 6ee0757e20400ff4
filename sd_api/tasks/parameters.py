"""The parameters of a task: the task dialect's names and defaults for the fields, and its own fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, Operation, TextToImage
from sd_api.generation.projection import Dialect, Reading, refusal
from sd_api.models.catalog import CatalogModel

BLOB_ID = r"^[0-9a-f]{32}$"

TASKS = Dialect(
    names={"image": "initial_image"},
    defaults={
        "steps": 20,
        "guidance": 7.5,
        "scheduler": "plms",
        "strength": 0.8,
        "width": 512,
        "height": 512,
        "safety_filter": True,
    },
    image=Annotated[str, StringConstraints(pattern=BLOB_ID)],
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
    """The parameters that every kind of task has besides the fields of its operation. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    task_type: str
    # Before model_id, whose validator needs it.
    model_provider: str = Field(
        default="huggingface",
        validate_default=True,
        max_length=50,
        description="huggingface, or local for a custom model of the configuration by its url_path",
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

    @field_validator("safety_filter", check_fields=False)
    @classmethod
    def _may_be_off(cls, safety_filter: bool, info: ValidationInfo) -> bool:
        model = _reading(info).model
        if model is not None and model.requires_safety_checker and not safety_filter:
            raise refusal(OutOfLimits("safety_filter", f"cannot be switched off for {model.label}"))
        return safety_filter


def _reading(info: ValidationInfo) -> TaskReading:
    return cast("TaskReading", info.context)


def _found(provider: str, model_id: str | None, info: ValidationInfo) -> CatalogModel:
    try:
        return _reading(info).find_model(provider, model_id)
    except InvalidField as error:
        raise refusal(error) from None


KINDS: Mapping[str, type[Operation]] = {
    "txt2img": TextToImage,
    "img2img": ImageToImage,
    "inpaint": Inpaint,
    "edit": Edit,
}
"""The operation of each task_type."""

_MODELS = {"txt2img": "Txt2ImgParams", "img2img": "Img2ImgParams", "inpaint": "InpaintParams", "edit": "EditParams"}


def _task_type(kind: str) -> Any:
    return Field(default=kind, description="what to do; it follows from the other fields if it is left out")


PARAMETERS: Mapping[str, type[TaskParams]] = {
    kind: TASKS.model(operation, _MODELS[kind], TaskParams, task_type=(Literal[kind], _task_type(kind)))
    for kind, operation in KINDS.items()
}
"""The parameters of each task_type."""

# Parameters without task_type select it by the first of these fields that they have; without any, txt2img.
_KIND_BY_FIELD = {"mask": "inpaint", "image_guidance": "edit", "initial_image": "img2img"}


def parse_parameters(fields: Mapping[str, Any], reading: TaskReading) -> TaskParams:
    """Validate a task's parameters; their kind follows from the fields where ``task_type`` does not name it.

    Args:
        fields: The fields that a client sent, or the stored parameters of a task.
        reading: The context of the validation; afterwards it has the images and the model.

    Raises:
        pydantic.ValidationError: Fields are missing or malformed; names all of them.
    """
    kind = fields.get("task_type")
    if "task_type" not in fields:
        kind = next((kind for field, kind in _KIND_BY_FIELD.items() if field in fields), "txt2img")
    if not isinstance(kind, str) or kind not in PARAMETERS:
        expected = {"expected": ", ".join(map(repr, PARAMETERS))}
        fault = InitErrorDetails(type="literal_error", loc=("task_type",), input=kind, ctx=expected)
        raise ValidationError.from_exception_data("task", [fault])
    return PARAMETERS[kind].model_validate(fields, context=reading)
