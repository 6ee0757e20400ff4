"""This dialect's endpoints for OpenAPI."""

from typing import Any, Literal

from openapi_pydantic import PathItem, Response, Schema
from pydantic import BaseModel, Field

from sd_api.web.description import JSON, MULTIPART, PNG, TOKEN, Shape, answer, body, in_path, operation, picture
from sd_api.web.openai.forms import FORMS

# Without a token, unless require_token is set.
SECURITY: list[dict[str, list[str]]] = [{}, *TOKEN]

TAG = "openai"


class Fault(BaseModel):
    """What went wrong."""

    message: str = Field(
        description="what happened and what to do, for the person who reads it",
        examples=["n is 0; it must be from 1 to 16"],
    )
    type: str = Field(description="the kind of the error", examples=["invalid_request_error"])
    param: str | None = Field(description="the first faulty field", examples=["n"])
    code: str | None = Field(description="the reason, for programs", examples=["invalid_fields"])


class OpenAIFailure(BaseModel):
    """Every failure of these endpoints."""

    error: Fault = Field(description="what went wrong")


class OpenAIImage(BaseModel):
    """One picture: its file, or its address."""

    b64_json: str | None = Field(default=None, description="the file as base64 text", examples=["iVBORw0KGgo="])
    url: str | None = Field(default=None, description="its address, valid for an hour", examples=[None])
    seed: int = Field(description="the seed that reproduces it", examples=[42])


class OpenAIImages(BaseModel):
    """The pictures of one request."""

    created: int = Field(description="seconds since 1970", examples=[1795000000])
    size: str = Field(description="the size of each picture, as WIDTHxHEIGHT", examples=["512x512"])
    quality: str = Field(description="the quality that was chosen", examples=["medium"])
    background: Literal["opaque"] = Field(description="pictures are opaque")
    output_format: str = Field(description="png, jpeg or webp", examples=["png"])
    data: list[OpenAIImage] = Field(description="the pictures")
    warnings: list[str] | None = Field(
        default=None,
        description="what had to be done in a lesser way",
        examples=[["style is not known here and was ignored."]],
    )


class OpenAIModel(BaseModel):
    """One model."""

    id: str = Field(description="its name in requests", examples=["builtin"])
    object: Literal["model"] = Field(description="always model")
    created: int = Field(description="when the server started, in seconds since 1970", examples=[1795000000])
    owned_by: str = Field(description="always local", examples=["local"])


class OpenAIModels(BaseModel):
    """The models of this server."""

    object: Literal["list"] = Field(description="always list")
    data: list[OpenAIModel] = Field(description="the main model, then the custom models")


def _failures(*statuses: int) -> dict[int, Response]:
    texts = {
        400: "a field is missing, malformed or out of limits, or the job was cancelled",
        401: "the configuration requires a token, and the request has no valid one",
        403: "the Host or the Origin is not allowed",
        404: "no model or picture has that name",
        413: "more bytes or more fields than the limit",
        415: "the Content-Encoding is neither gzip nor deflate, or the charset is unknown",
        500: "a fault of the server; its log explains the id in the message",
        503: "the queue is full, the model is unavailable, memory is exhausted, or the server is shutting down",
    }
    return {status: answer(texts[status], OpenAIFailure) for status in statuses}


def _generation(name: str, text: str, kind: str, shape: Shape, example: Any = None) -> PathItem:
    answers = {
        200: answer("the pictures; with stream=true server-sent events", OpenAIImages),
        **_failures(400, 401, 403, 413, 415, 500, 503),
    }
    return PathItem(post=operation(name, TAG, text, answers, sent=body(kind, shape, example), security=SECURITY))


def _sized(mode: Literal["txt2img", "img2img", "masking"], *optional: str) -> Schema:
    """The schema of a request: as it is validated, with size in place of width and height."""
    schema = FORMS[mode].model_json_schema()
    properties = {name: field for name, field in schema["properties"].items() if name not in ("width", "height")}
    properties["size"] = {
        "type": "string",
        "default": "auto",
        "description": "WIDTHxHEIGHT; auto is that of the image, or of the pictures that the model was trained with",
        "examples": ["512x512"],
    }
    for name in ("image", "mask"):
        if name in properties:
            field = {"type": "string", "format": "binary", "description": properties[name]["description"]}
            properties[name] = field
    required = [name for name in schema.get("required", ()) if name not in optional]
    return Schema.model_validate({"type": "object", "properties": properties, "required": required})


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    read = _failures(401, 403, 500, 503)
    return {
        "/v1/images/generations": _generation(
            "openai_generations",
            "Pictures from text",
            JSON,
            _sized("txt2img"),
            {"prompt": "a dog on a blue background", "size": "512x512", "n": 1},
        ),
        "/v1/images/edits": _generation(
            "openai_edits",
            "Change a picture: where its mask, or the picture itself, is transparent; else all over, as an instruction "
            "with a model that was made for these",
            MULTIPART,
            _sized("masking", "mask"),
        ),
        "/v1/images/variations": _generation(
            "openai_variations", "Pictures that resemble one", MULTIPART, _sized("img2img", "prompt")
        ),
        "/v1/images/results/{name}": PathItem(
            get=operation(
                "openai_result",
                TAG,
                "A picture by the address that a request with response_format=url was answered with",
                {200: picture("the picture", PNG, "image/jpeg", "image/webp"), **_failures(403, 404, 500, 503)},
                parameters=[
                    in_path("name", "the signed name of the picture", "WyI1ZTQ4ZiIsMCwicG5nIiwxMDBd.awi9wA.1Pc5uKzWW")
                ],
            )
        ),
        "/v1/models": PathItem(
            get=operation(
                "openai_models",
                TAG,
                "The models of this server",
                {200: answer("the models", OpenAIModels), **read},
                security=SECURITY,
            )
        ),
        "/v1/models/{model_id}": PathItem(
            get=operation(
                "openai_model",
                TAG,
                "One model",
                {200: answer("the model", OpenAIModel), **read, **_failures(404)},
                parameters=[in_path("model_id", "its id; slashes may be escaped", "builtin")],
                security=SECURITY,
            )
        ),
    }
