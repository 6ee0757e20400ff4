"""What a request of this dialect may have: OpenAI's fields, and beside them this server's own under their own names."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits
from sd_api.generation.operation import MIN_SIDE, OperationName
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.generation.reading import Reading
from sd_api.generation.refusals import faults_in, in_short, shown, wrong_type
from sd_api.generation.spec import JobSpec
from sd_api.generation.unknown_fields import unknown_fields
from sd_api.settings import Limits

# The denoising steps of each quality; OpenAI's API has no steps.
STEPS: Mapping[str, int] = {"low": 10, "medium": 25, "high": 50, "xhigh": 75, "max": 100}

# What older models call these, and what is chosen where nothing is.
_SAME_QUALITY = {"auto": "medium", "standard": "medium", "hd": "high"}

OPENAI = Dialect(
    names={"num_outputs": "n", "true_guidance": "true_cfg_scale"},
    defaults={
        "steps": STEPS["medium"],
        "guidance": 7.5,
        # With a mask all of the hole is new; without one something of the image must stay.
        "strength": 0.75,
        "width": 512,
        "height": 512,
    },
    stands_for_none={"seed": frozenset({-1}), "variation_seed": frozenset({-1})},
    # Its programs show what comes as the whole picture, and send no maps.
    left_out=frozenset({"output", "controls"}),
    image=Annotated[bytes, Field(min_length=1)],
    image_form="a file in a form, or as base64 text or a data: URL in JSON",
    image_example=lambda png: b64encode(png).decode(),
)


class Options(BaseModel):
    """The fields that say how the answer shall look; those that mean nothing here are accepted.

    Attributes:
        model: A model of ``/v1/models``; any other name is the main model.
        response_format: None chooses by the model's name, see ``answers_with_links``.
        output_compression: 0 to 100, the quality of a lossy format.
        partial_images: How many previews a stream has at most.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str = Field(
        default="",
        max_length=200,
        description="a model of /v1/models; others mean the main model",
        examples=["builtin"],
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None,
        description="url answers a link that is valid for an hour; the default of dall-e-2 and dall-e-3",
        examples=["b64_json"],
    )
    output_format: Literal["png", "jpeg", "webp"] = Field(default="png", description="the format of the pictures")
    output_compression: int = Field(default=100, ge=0, le=100, description="the quality of jpeg and webp")
    background: Literal["auto", "opaque"] = Field(default="auto", description="no model here draws transparency")
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] = Field(
        default="auto",
        description="how many steps are made where steps does not say so: "
        + ", ".join(f"{steps} for {name}" for name, steps in STEPS.items()),
    )
    stream: bool = Field(default=False, description="whether the answer is a stream of events")
    partial_images: int = Field(default=0, ge=0, le=3, description="how many previews the stream has at most")
    style: str | None = Field(default=None, description="has no effect", examples=[None])
    moderation: str | None = Field(default=None, description="has no effect", examples=[None])
    input_fidelity: str | None = Field(default=None, description="has no effect", examples=[None])
    user: str | None = Field(default=None, description="has no effect", examples=[None])
    safety_identifier: str | None = Field(default=None, description="has no effect", examples=[None])

    @property
    def level(self) -> str:
        """The quality by the name that an answer may have."""
        return _SAME_QUALITY.get(self.quality, self.quality)

    @property
    def answers_with_links(self) -> bool:
        """Whether pictures are answered as links: programs for these models read nothing else by default."""
        if self.response_format is None:
            return self.model in ("dall-e-2", "dall-e-3") and not self.stream
        return self.response_format == "url"


FORMS: Mapping[OperationName, type[Options]] = {
    name: OPENAI.model(operation, f"{operation.__name__}Request", Options) for name, operation in OPERATIONS.items()
}
"""The request for each operation; ``size`` has been replaced by ``width`` and ``height``."""


def decode_fields(
    fields: Mapping[str, Any], operation: OperationName, reading: Reading, model: str | None
) -> tuple[JobSpec, Options]:
    """Turn the fields of a request into a job.

    Args:
        fields: Those that came, without null; images as bytes.
        operation: What to do.
        reading: The limits, and how images are read; afterwards it has the images, and warnings of ignored fields.
        model: See JobSpec.

    Raises:
        InvalidFields: Naming every field that is malformed or out of limits.
    """
    known = {*FORMS[operation].model_fields, "width", "height", "size"}
    ignored = unknown_fields(OPENAI, OPERATIONS[operation], list(fields), known)
    reading.warnings += [f"{sentence}." for sentence in ignored]
    quality = in_short(fields.get("quality", "auto"))
    # Where it says nothing, the model's own number goes before the one of the dialect.
    steps = {} if quality == "auto" else {"steps": STEPS.get(_SAME_QUALITY.get(quality, quality), STEPS["medium"])}
    try:
        read = FORMS[operation].model_validate({**steps, **fields}, context=reading)
    except ValidationError as error:
        faults = faults_in(error, wrong_type)
        # What is missing or wrong may have come under another name.
        raise InvalidFields(faults, "; ".join([*(fault.message for fault in faults), *ignored])) from None
    return OPENAI.spec(OPERATIONS[operation], read, reading, model=model), read


def size_of(fields: Mapping[str, Any], limits: Limits) -> tuple[int, int] | None:
    """The size that a request asks for; None where it leaves that open.

    Checked before anything is made of it, because pictures that come are scaled to it.

    Raises:
        InvalidField: It is no size.
        OutOfLimits: It exceeds the limits.
    """
    size = fields.get("size", "auto")
    if size in ("auto", ""):
        return None
    width, cross, height = in_short(size).lower().partition("x")
    if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InvalidField("size", f"is {shown(size)}; valid are auto and WIDTHxHEIGHT, such as 1024x1024")
    side = int(width), int(height)
    most = limits.max_width, limits.max_height
    if not (MIN_SIDE <= side[0] <= most[0] and MIN_SIDE <= side[1] <= most[1]):
        raise OutOfLimits("size", f"is {width}x{height}; it must be from {MIN_SIDE}x{MIN_SIDE} to {most[0]}x{most[1]}")
    return side
