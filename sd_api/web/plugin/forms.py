"""The plugin's forms: its names and defaults for the fields, and its own fields."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.datastructures import MultiDict

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits
from sd_api.generation.operation import OperationName
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.generation.reading import TAKES_LONG_TEXT, Reading
from sd_api.generation.refusals import faults_in, shown
from sd_api.generation.spec import JobSpec
from sd_api.generation.stored_files import StoredFile
from sd_api.generation.unknown_fields import unknown_fields
from sd_api.imaging.long_text import LongText, Text
from sd_api.settings import Limits

PLUGIN = Dialect(
    names={
        "steps": "num_inference_steps",
        "guidance": "guidance_scale",
        "image": "init_image",
        "mask": "mask_image",
        "image_guidance": "image_guidance_scale",
        "true_guidance": "true_cfg_scale",
        "safety_filter": "safety_checker",
    },
    defaults={
        "steps": 100,
        "guidance": 7.5,
        "strength": 0.7,
        "width": 512,
        "height": 512,
        "seed": 0,
        "variation_seed": 0,
    },
    # A form cannot hold null.
    stands_for_none={"seed": frozenset({0, -1}), "variation_seed": frozenset({0, -1})},
    image=Annotated[str, Field(min_length=1), TAKES_LONG_TEXT],
    image_form="base64 text, or as the id of a document",
    image_example=lambda png: b64encode(png).decode(),
    as_text=True,
)

# Pydantic's error types in words for a designer.
PROBLEMS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "extra_forbidden": "is not known here",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "string_pattern_mismatch": "must be 1 to 64 letters from A to Z, digits, hyphens or underscores",
}

# These characters are safe in a path and in a header. A form cannot hold null: empty is none.
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")]


def _without_null(schema: dict[str, Any]) -> None:
    """Describe optional fields without null, because a form cannot hold null."""
    for field in schema["properties"].values():
        if "anyOf" in field:
            del field["default"]
            field.update(*(kind for kind in field.pop("anyOf") if kind != {"type": "null"}))


class JobForm(BaseModel):
    """The fields of a form that concern the job, not its pictures.

    Fields that are not listed are ignored, as they always were, and named in the answer's warnings.
    """

    model_config = ConfigDict(frozen=True, json_schema_extra=_without_null)

    job_id: JobId = Field(
        default="",
        description="the client's id for the job, with which it can ask about the job before the answer comes; a new "
        "one for each request, and empty if the server shall choose it",
        examples=["", "my-first-picture"],
    )
    wait: bool = Field(
        default=True,
        description="whether the answer is the pictures; if not, the job is answered at once and outlives its "
        "connection",
        examples=[True],
    )


# The names of models in the description, by which generated clients call them, where the operation has another name.
_NAMES: Mapping[OperationName, str] = {"masking": "MaskingForm"}

FORMS: Mapping[OperationName, type[JobForm]] = {
    name: PLUGIN.model(operation, _NAMES.get(name, f"{operation.__name__}Form"), JobForm)
    for name, operation in OPERATIONS.items()
}
"""The form of each operation."""


def decode_form(
    fields: MultiDict[str, str],
    mode: OperationName,
    limits: Limits,
    content: Callable[[str, Text], bytes | StoredFile],
    model: str | None = None,
) -> tuple[JobSpec, JobForm]:
    """Turn a form into a job.

    Args:
        fields: the form as it came.
        mode: the operation of the form.
        limits: the limits of the fields.
        content: see ``Reading``.
        model: the ``url_path`` of a custom model; None is the main model.

    Returns:
        The spec of the job, and the fields that concern the job.

    Raises:
        InvalidFields: naming every field that is malformed or out of limits.
    """
    form = FORMS[mode]
    listed = {PLUGIN.name(field.name) for field in PLUGIN.fields(OPERATIONS[mode]) if field.entry is not None}
    repeated = [name for name in form.model_fields if name not in listed and len(fields.getlist(name)) > 1]
    if repeated:
        faults = [InvalidField(name, "came more than once") for name in repeated]
        raise InvalidFields(faults, f"{', '.join(repeated)}: came more than once; send each field once.")
    ignored = unknown_fields(PLUGIN, OPERATIONS[mode], list(fields), form.model_fields)
    reading = Reading(limits=limits, content=content, warnings=[f"{sentence}." for sentence in ignored])
    try:
        several = {name: fields.getlist(name) for name in listed if name in fields}
        read = form.model_validate({**fields.to_dict(), **several}, context=reading)
    except ValidationError as error:
        faults = faults_in(error, _in_words)
        # What is missing may have come under another name, or in a body that is no form at all.
        further = ignored if fields else ["the form has no fields"]
        raise InvalidFields(faults, "; ".join([*(fault.message for fault in faults), *further])) from None
    spec = PLUGIN.spec(OPERATIONS[mode], read, reading, model=model)
    # Without the images' texts, because a request waits for its job.
    return spec, JobForm(job_id=read.job_id, wait=read.wait)


def sent_once(form: MultiDict[str, str], name: str) -> str:
    """The value of a field that an endpoint has besides those of a form; empty where it did not come.

    Raises:
        InvalidFields: It came more than once, or is longer than any text.
    """
    if len(values := form.getlist(name)) > 1:
        raise InvalidFields([InvalidField(name, "came more than once")])
    value: Text = values[0] if values else ""
    if isinstance(value, LongText):
        raise InvalidFields([OutOfLimits(name, value.problem)])
    return value


def without(form: MultiDict[str, str], fields: type[JobForm]) -> MultiDict[str, str]:
    """A form without the fields that a model adds to those of its base."""
    return MultiDict([(name, value) for name, value in form.items(multi=True) if name not in fields.__annotations__])


def _in_words(error: ErrorDetails) -> str:
    problem = PROBLEMS.get(error["type"], error["msg"])
    if error["type"] in ("missing", "string_too_short", "extra_forbidden"):
        return problem
    if not error["input"]:
        return f"is empty; it {problem}"
    return f"is {shown(error['input'])}; it {problem}"
