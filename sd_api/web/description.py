"""The words in which a dialect describes its endpoints for OpenAPI; the schemas are the models that validate."""

from collections.abc import Mapping, Sequence
from typing import Any

from openapi_pydantic import Link, MediaType, Operation, Parameter, RequestBody, Response, Schema
from openapi_pydantic.util import PydanticSchema
from pydantic import BaseModel

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
PNG = "image/png"
PLAIN = "text/plain"
# Bytes of any kind. Generated clients know this type, and many of them no type of an image.
OCTETS = "application/octet-stream"

# Either of the two ways to say the same: a token, or a form to get one with.
TOKEN: list[dict[str, list[str]]] = [{"bearer": []}, {"password": []}]

Shape = type[BaseModel] | Schema

BINARY = Schema.model_validate({"type": "string", "format": "binary"})
TEXT = Schema.model_validate({"type": "string"})


def media(shape: Shape, example: Any = None) -> MediaType:
    """Content of a shape.

    Args:
        shape: the model that makes or validates it, or a schema.
        example: of it.
    """
    schema = shape if isinstance(shape, Schema) else PydanticSchema.model_validate({"schema_class": shape})
    return MediaType(schema=schema, example=example)


def answer(
    text: str,
    shape: Shape | None = None,
    *,
    kind: str = JSON,
    example: Any = None,
    names: Mapping[str, str] | None = None,
) -> Response:
    """One answer.

    Args:
        text: when it comes.
        shape: of its body; None is for an answer without one.
        kind: its content type.
        example: of its body.
        names: the operations that take the whole body as a parameter, each with that parameter.
    """
    response = Response(description=text, content=None if shape is None else {kind: media(shape, example)})
    if names is not None:
        response.links = {
            name: Link(operationId=name, parameters={field: "$response.body"}) for name, field in names.items()
        }
    return response


def body(kind: str, shape: Shape, example: Any = None, *, required: bool = True) -> RequestBody:
    """What is sent.

    One content type, though most endpoints take several: of an operation with two, generated clients send either both
    at once or nothing that can be read.
    """
    return RequestBody(required=required, content={kind: media(shape, example)})


def operation(
    name: str,
    tag: str,
    text: str,
    answers: Mapping[int, Response],
    *,
    sent: RequestBody | None = None,
    parameters: Sequence[Parameter] = (),
    security: list[dict[str, list[str]]] | None = None,
) -> Operation:
    """One method of a path.

    Args:
        name: for the functions of generated clients.
        tag: its group.
        text: what it does.
        answers: by status.
        sent: the request's body.
        parameters: in the path and in the query.
        security: the ways to say who asks; None is for everybody.
    """
    return Operation(
        operationId=name,
        tags=[tag],
        summary=text,
        parameters=list(parameters) or None,
        requestBody=sent,
        responses={str(status): answer for status, answer in sorted(answers.items())},
        security=security,
    )


def in_path(name: str, text: str, pattern: str | None = None) -> Parameter:
    """A part of the path, and what it must look like."""
    return Parameter.model_validate(
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string", "minLength": 1} | ({} if pattern is None else {"pattern": pattern}),
        }
    )


def in_query(model: type[BaseModel]) -> list[Parameter]:
    """The fields of a model, as they stand in the query."""
    fields: Mapping[str, Any] = model.model_json_schema()["properties"]
    return [
        Parameter.model_validate(
            {
                "name": name,
                "in": "query",
                "description": field["description"],
                "schema": {key: value for key, value in field.items() if key != "description"},
            }
        )
        for name, field in fields.items()
    ]
