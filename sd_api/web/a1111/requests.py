"""What requests of this dialect hold: fields in JSON, and the few that may stand in the query."""

from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sd_api.errors import InvalidFields, RequestError
from sd_api.generation.reading import TAKES_LONG_TEXT
from sd_api.generation.refusals import faults_in, wrong_type

Content = TypeVar("Content", bound=BaseModel)

PictureText = Annotated[str, TAKES_LONG_TEXT]
"""A picture as base64 text, which ``picture_bytes`` reads."""


class JobQuery(BaseModel):
    """Which of the caller's jobs are meant."""

    model_config = ConfigDict(frozen=True)

    force_task_id: str = Field(default="", description="only the job of this id; all where it is empty")


class ProgressQuery(JobQuery):
    """What to say of the progress."""

    skip_current_image: bool = Field(default=False, description="whether to leave the preview out")


def json_object() -> dict[str, Any]:
    """The body of the request; a missing one is an empty object.

    Raises:
        RequestError: It is no JSON object.
    """
    if not request.content_length:
        return {}
    content = request.get_json(force=True, cache=False)
    if not isinstance(content, dict):
        raise RequestError("The body is no JSON object.")
    return content


def json_fields() -> dict[str, Any]:
    """The fields of the body that have a value: null, an empty text and an empty list say that nothing is given.

    Raises:
        RequestError: The body is no JSON object.
    """
    return {name: value for name, value in json_object().items() if value is not None and value not in ("", [])}


def read_body(kind: type[Content]) -> Content:
    """The fields of the request as a model has them.

    Raises:
        RequestError: The body is no JSON object.
        InvalidFields: Naming every field that is malformed or out of limits.
    """
    return _read(kind, json_fields())


def read_query(kind: type[Content]) -> Content:
    """What stands in the query; see ``read_body``."""
    return _read(kind, {name: value for name, value in request.args.items() if value})


def _read(kind: type[Content], fields: dict[str, Any]) -> Content:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InvalidFields(faults_in(error, wrong_type)) from None
