"""The fields of the plugin's forms, from text to types; whether they are within limits is checked later."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.datastructures import MultiDict

from sd_api.errors import RequestError
from sd_api.generation.limits import check_num_outputs
from sd_api.generation.request import GenerationRequest, Mode
from sd_api.generation.seeds import choose_seed
from sd_api.imaging.decoding import decode_image, decode_mask
from sd_api.imaging.sizing import resize_mask
from sd_api.settings import Limits

Form = TypeVar("Form", bound=BaseModel)

# What pydantic says of text that is no number, in words for a designer.
PROBLEMS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "string_pattern_mismatch": "must be 1 to 64 letters from A to Z, digits, hyphens or underscores",
}

# What is safe in a path and in a header.
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Prompt = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def _without_null(schema: dict[str, Any]) -> None:
    """Say of fields that may be left out what they hold otherwise: a form cannot hold null."""
    for field in schema["properties"].values():
        if "anyOf" in field:
            del field["default"]
            field.update(*(kind for kind in field.pop("anyOf") if kind != {"type": "null"}))


class JobForm(BaseModel):
    """What a generation's form says of the job rather than of the pictures.

    Attributes:
        job_id: what the client calls the job, so that it can ask about it before the answer comes.
        wait: whether the answer is the pictures; if not, the job is answered at once and outlives its connection.
    """

    model_config = ConfigDict(frozen=True, json_schema_extra=_without_null)

    job_id: JobId | None = None
    wait: bool = True


class PluginForm(JobForm):
    """The fields that every generation has; fields that are not listed are ignored, as they always were.

    Attributes:
        seed: 0 means: choose one for each picture. Otherwise picture *i* has ``seed + i``.
    """

    prompt: Prompt
    negative_prompt: str = ""
    seed: int = 0
    num_outputs: int = 1
    num_inference_steps: int = 100
    guidance_scale: FiniteFloat = 7.5
    eta: FiniteFloat = 0.0
    scheduler: str | None = None
    safety_checker: bool | None = None

    def seeds(self, limits: Limits) -> tuple[int, ...]:
        """The seed of each picture."""
        check_num_outputs(self.num_outputs, limits)
        if self.seed == 0:
            return tuple(choose_seed() for _ in range(self.num_outputs))
        return tuple(self.seed + i for i in range(self.num_outputs))


class TextToImageForm(PluginForm):
    """The form of ``/txt2img``; ``width`` and ``height`` in pixels."""

    width: int = 512
    height: int = 512


class ImageToImageForm(PluginForm):
    """The form of ``/img2img``; the picture's size is that of ``init_image``."""

    init_image: Annotated[str, Field(min_length=1)]
    strength: FiniteFloat = 0.7


class MaskingForm(ImageToImageForm):
    """The form of ``/masking``."""

    mask_image: Annotated[str, Field(min_length=1)]


FORMS: Mapping[Mode, type[PluginForm]] = {
    "txt2img": TextToImageForm,
    "img2img": ImageToImageForm,
    "masking": MaskingForm,
}


def decode_form(fields: MultiDict[str, str], mode: Mode, limits: Limits, model: str | None = None) -> GenerationRequest:
    """Turn a form into a request.

    Args:
        fields: the form as it came.
        mode: which form it is.
        limits: what may be asked for.
        model: the ``url_path`` of a custom model; None is the main model.

    Raises:
        RequestError: naming every field that is malformed, or the first that is out of limits.
    """
    form = _parse(FORMS[mode], fields)
    common: dict[str, Any] = {
        "prompt": form.prompt,
        "negative_prompt": form.negative_prompt,
        "model": model,
        "seeds": form.seeds(limits),
        "num_inference_steps": form.num_inference_steps,
        "guidance_scale": form.guidance_scale,
        "eta": form.eta,
        "scheduler": form.scheduler,
        "safety_checker": form.safety_checker,
        "limits": limits,
    }
    if isinstance(form, TextToImageForm):
        return GenerationRequest(width=form.width, height=form.height, **common)
    assert isinstance(form, ImageToImageForm)  # noqa: S101 - the only other kind there is
    init_image = decode_image("init_image", form.init_image, max_pixels=limits.max_image_pixels)
    mask_image = None
    if isinstance(form, MaskingForm):
        mask_image = decode_mask("mask_image", form.mask_image, max_pixels=limits.max_image_pixels)
        mask_image = resize_mask(mask_image, init_image.size)
    return GenerationRequest(
        width=init_image.width,
        height=init_image.height,
        init_image=init_image,
        mask_image=mask_image,
        strength=form.strength,
        **common,
    )


def decode_job_form(fields: MultiDict[str, str]) -> JobForm:
    """What the form says of the job.

    Raises:
        RequestError: naming every field that is malformed.
    """
    return _parse(JobForm, fields)


def _parse(form: type[Form], fields: MultiDict[str, str]) -> Form:
    repeated = [name for name in form.model_fields if len(fields.getlist(name)) > 1]
    if repeated:
        raise RequestError(f"{', '.join(repeated)}: came more than once; send each field once.")
    try:
        return form.model_validate(fields.to_dict())
    except ValidationError as error:
        raise RequestError("; ".join(map(_in_words, error.errors()))) from None


def _in_words(error: ErrorDetails) -> str:
    field = ".".join(map(str, error["loc"]))
    problem = PROBLEMS.get(error["type"], error["msg"])
    came = error["input"]
    if error["type"] in ("missing", "string_too_short"):
        return f"{field} {problem}"
    if not came:
        return f"{field} is empty; it {problem}"
    shown = came if len(came) <= 40 else came[:40] + "…"
    return f"{field} is {shown!r}; it {problem}"
