"""What a task may ask for: the words of the task server's document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails

from sd_api.generation.limits import MAX_GUIDANCE_SCALE, MAX_SEED, MIN_SIDE

Scheduler = Literal["plms", "ddim", "k-lms", "euler", "euler-a", "heun", "dpm++", "dpm++-karras", "unipc"]
# With a constraint, whatever it is, halves of surrogate pairs are refused; no tokenizer takes them.
Text = Annotated[str, StringConstraints(strip_whitespace=True)]
Prompt = Annotated[Text, StringConstraints(min_length=1)]
BLOB_ID = r"^[0-9a-f]{32}$"
BlobId = Annotated[str, StringConstraints(pattern=BLOB_ID)]


class CommonParams(BaseModel):
    """What every kind of task has. What is not listed is ignored, as the first version did."""

    model_config = ConfigDict(frozen=True, strict=True)

    prompt: Prompt = Field(description="what to draw", examples=["corgi with a top hat"])
    negative_prompt: Text = Field(default="", description="what to stay away from", examples=["monocle"])
    model_id: str | None = Field(
        default=None, max_length=200, description="the model's name at its provider; null is the server's main model"
    )
    model_provider: str = Field(
        default="huggingface",
        max_length=50,
        description="huggingface, or local for a custom model of the configuration by its url_path",
    )
    steps: int = Field(default=20, ge=1, description="denoising steps")
    guidance: FiniteFloat = Field(
        default=7.5, ge=0, le=MAX_GUIDANCE_SCALE, description="how closely the prompt is followed; acts above 1"
    )
    scheduler: Scheduler = Field(default="plms", description="how the steps are made")
    safety_filter: bool = Field(default=True, description="whether pictures pass the safety filter")
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="of the first picture, the next has one more; null chooses"
    )
    num_outputs: int = Field(default=1, ge=1, description="how many pictures")


class Txt2ImgParams(CommonParams):
    """Text to image."""

    task_type: Literal["txt2img"] = "txt2img"
    width: int = Field(default=512, ge=MIN_SIDE, description="of the picture, in pixels")
    height: int = Field(default=512, ge=MIN_SIDE, description="of the picture, in pixels")


class Img2ImgParams(CommonParams):
    """Image to image; the picture has the size of its initial image."""

    task_type: Literal["img2img"] = "img2img"
    initial_image: BlobId = Field(description="the blob to start from")
    strength: FiniteFloat = Field(default=0.8, ge=0, le=1, description="how much to change; at least one step remains")


class InpaintParams(CommonParams):
    """Replaces the part of an image that a mask shows."""

    task_type: Literal["inpaint"] = "inpaint"
    initial_image: BlobId = Field(description="the blob to change")
    mask: BlobId = Field(description="the blob of the mask: white is replaced, black is kept")
    strength: FiniteFloat = Field(default=0.8, ge=0, le=1, description="how much to change; at least one step remains")


TaskParams = Txt2ImgParams | Img2ImgParams | InpaintParams

_KINDS: Mapping[str, type[TaskParams]] = {
    "txt2img": Txt2ImgParams,
    "img2img": Img2ImgParams,
    "inpaint": InpaintParams,
}


def parse_parameters(fields: Mapping[str, Any]) -> TaskParams:
    """Validate a task's parameters; their kind follows from the fields where ``task_type`` does not name it.

    Raises:
        pydantic.ValidationError: naming every field that is not what it should be.
    """
    kind = fields.get("task_type")
    if "task_type" not in fields:
        kind = "inpaint" if "mask" in fields else "img2img" if "initial_image" in fields else "txt2img"
    if not isinstance(kind, str) or kind not in _KINDS:
        expected = {"expected": ", ".join(map(repr, _KINDS))}
        fault = InitErrorDetails(type="literal_error", loc=("task_type",), input=kind, ctx=expected)
        raise ValidationError.from_exception_data("task", [fault])
    return _KINDS[kind].model_validate(fields)
