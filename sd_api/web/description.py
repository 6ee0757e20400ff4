"""Helpers with which a dialect describes its endpoints for OpenAPI; the schemas are those of the validating models."""

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
# Generated clients support this type; many of them support no type of image.
OCTETS = "application/octet-stream"

# Two security schemes: a token, or a form to get one.
TOKEN: list[dict[str, list[str]]] = [{"bearer": []}, {"password": []}]

Shape = type[BaseModel] | Schema

BINARY = Schema.model_validate({"type": "string", "format": "binary"})
TEXT = Schema.model_validate({"type": "string"})


def media(shape: Shape, example: Any = None) -> MediaType:
    """Describe a body.

    Args:
        shape: the model that makes or validates the body, or a schema.
        example: an example of the body.
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
    """Describe a response.

    Args:
        text: when the response is sent.
        shape: the shape of its body; None for a response without one.
        kind: its content type.
        example: an example of its body.
        names: the operations that take the whole body as a parameter, each with that parameter.
    """
    response = Response(description=text, content=None if shape is None else {kind: media(shape, example)})
    if names is not None:
        response.links = {
            name: Link(operationId=name, parameters={field: "$response.body"}) for name, field in names.items()
        }
    return response


def picture(text: str, *kinds: str) -> Response:
    """Describe a response that is a picture.

    Args:
        text: when the response is sent.
        kinds: its content types; none is PNG alone.
    """
    return Response(description=text, content={kind: media(BINARY) for kind in (*(kinds or (PNG,)), OCTETS)})


def body(kind: str, shape: Shape, example: Any = None, *, required: bool = True) -> RequestBody:
    """Describe the body of a request.

    It has one content type, though most endpoints take several: for an operation with two, generated clients send
    either both at once or nothing that can be parsed.
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
    """Describe one method of a path.

    Args:
        name: the name of its function in generated clients.
        tag: its group.
        text: its summary.
        answers: the responses by status.
        sent: the body of the request.
        parameters: the parameters in the path and in the query.
        security: the security schemes; None if no token is needed.
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


def example_of(model: type[BaseModel], *optional: str) -> dict[str, Any]:
    """An example of a body from those that its fields declare.

    Args:
        model: the model of the body.
        optional: which of its optional fields to show besides the required ones.
    """
    shown = {name: field for name, field in model.model_fields.items() if field.is_required() or name in optional}
    return {name: (field.examples or [None])[0] for name, field in shown.items()}


def in_path(name: str, text: str, example: str, pattern: str | None = None) -> Parameter:
    """Describe a parameter in the path, with a valid example and the pattern that it must match."""
    schema = {"type": "string", "minLength": 1}
    if pattern is not None:
        schema["pattern"] = pattern
    # The pages fill in an example that is beside the schema, and none that is inside.
    return Parameter.model_validate(
        {"name": name, "in": "path", "required": True, "description": text, "schema": schema, "example": example}
    )


def in_query(model: type[BaseModel]) -> list[Parameter]:
    """Describe the fields of a model as parameters in the query."""
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
