"""This dialect's endpoints for OpenAPI."""

from collections.abc import Iterator
from typing import Any

from openapi_pydantic import PathItem, Response, Schema
from pydantic import BaseModel, Field

from sd_api.generation.operation import OperationName
from sd_api.web.a1111.controlnet import Detect
from sd_api.web.a1111.extras import Expansion, OnePicture, ResizeOne, ResizeSeveral
from sd_api.web.a1111.forms import FORMS
from sd_api.web.a1111.lists import LISTS, NOTHING_TO_DO
from sd_api.web.a1111.options import A1111Options
from sd_api.web.a1111.requests import JobQuery, ProgressQuery
from sd_api.web.description import JSON, TOKEN, Shape, answer, body, in_query, operation

# Without a token, unless require_token is set; the token may also be the password of HTTP Basic.
SECURITY: list[dict[str, list[str]]] = [{}, *TOKEN, {"basic": []}]

TAG = "a1111"

_NULL = Schema.model_validate({"type": "null"})
_LIST = Schema.model_validate({"type": "array", "items": {}})
_OBJECT = Schema.model_validate({"type": "object"})


class A1111Failure(BaseModel):
    """Every failure of these endpoints."""

    error: str = Field(description="the kind of the error", examples=["InvalidFields"])
    detail: str = Field(
        description="what happened and what to do, for the person who reads it", examples=["Sampler not found"]
    )
    body: str = Field(description="always empty", examples=[""])
    errors: str = Field(
        description="the detail, or more of it", examples=["There is no sampler 'x'; valid are Euler and DDIM."]
    )


class A1111Pictures(BaseModel):
    """The pictures of one request; what there is of them where it was interrupted."""

    images: list[str] = Field(description="PNG files as base64 text", examples=[["iVBORw0KGgo="]])
    parameters: dict[str, Any] = Field(description="the request, its pictures null", examples=[{"prompt": "a dog"}])
    info: str = Field(description="an object as JSON: seeds, infotexts and more", examples=['{"seed": 42}'])
    warnings: list[str] | None = Field(
        default=None, description="what had to be done in a lesser way", examples=[["mode is not known here."]]
    )


class A1111State(BaseModel):
    """What the caller's job does."""

    skipped: bool = Field(description="always false", examples=[False])
    interrupted: bool = Field(description="always false", examples=[False])
    stopping_generation: bool = Field(description="always false", examples=[False])
    job: str = Field(description="its id; empty at rest", examples=["my-first-picture"])
    job_count: int = Field(description="1, or 0 at rest", examples=[1])
    job_timestamp: str = Field(description="when it came, or 0", examples=["20260101120000"])
    job_no: int = Field(description="always 0", examples=[0])
    sampling_step: int = Field(description="the steps that are done, of all pictures", examples=[3])
    sampling_steps: int = Field(description="the steps of all pictures", examples=[20])


class A1111Progress(BaseModel):
    """How far the caller's job is."""

    progress: float = Field(description="0 at rest, above it to 1 else", examples=[0.15])
    eta_relative: float = Field(description="the seconds that are left", examples=[2.5])
    state: A1111State = Field(description="what it does")
    current_image: str | None = Field(description="a small PNG file as base64 text", examples=[None])
    textinfo: str | None = Field(description="what it waits for", examples=[None])


class Resized(BaseModel):
    """A picture at another size."""

    image: str = Field(description="a PNG file as base64 text", examples=["iVBORw0KGgo="])
    html_info: str = Field(description="always empty", examples=[""])


class SeveralResized(BaseModel):
    """Pictures at other sizes."""

    images: list[str] = Field(description="PNG files as base64 text", examples=[["iVBORw0KGgo="]])
    html_info: str = Field(description="always empty", examples=[""])


class PictureInformation(BaseModel):
    """How a picture was made."""

    info: str = Field(description="its parameters text; empty where it has none", examples=["a dog\nSteps: 20"])
    items: dict[str, str] = Field(description="its other texts, by their keywords", examples=[{}])
    parameters: dict[str, str] = Field(description="the text's values, by their keys", examples=[{"Steps": "20"}])


class GrownMask(BaseModel):
    """A mask that has grown."""

    mask: str = Field(description="a PNG file as base64 text", examples=["iVBORw0KGgo="])


def _failures(*statuses: int) -> dict[int, Response]:
    texts = {
        400: "the body is no JSON object",
        401: "the configuration requires a token, and the request has no valid one",
        403: "the Host or the Origin is not allowed",
        404: "there is no such model, sampler or image",
        409: "the job was cancelled elsewhere, or its force_task_id is another job's",
        413: "more bytes or more fields than the limit",
        415: "the Content-Encoding is neither gzip nor deflate, or the charset is unknown",
        422: "a field is malformed or out of limits, or asks for what is not here",
        500: "a fault of the server; its log explains the id in the message",
        503: "the queue is full, the model is unavailable, memory is exhausted, or the server is shutting down",
    }
    return {status: answer(texts[status], A1111Failure) for status in statuses}


def _get(name: str, text: str, shape: Shape, query: type[BaseModel] | None = None) -> PathItem:
    answers = {200: answer("what there is", shape), **_failures(401, 403, 500, 503)}
    parameters = [] if query is None else in_query(query)
    if query is not None:
        answers |= _failures(422)
    return PathItem(get=operation(f"a1111_{name}", TAG, text, answers, parameters=parameters, security=SECURITY))


def _post(
    name: str,
    text: str,
    shape: Shape,
    sent: Shape | None = None,
    *,
    required: bool = True,
    query: type[BaseModel] | None = None,
) -> PathItem:
    answers = {200: answer("it is done", shape), **_failures(401, 403, 413, 415, 500, 503)}
    parameters = [] if query is None else in_query(query)
    if sent is not None:
        answers |= _failures(400, 404, 409, 422)
    asked = None if sent is None else body(JSON, sent, required=required)
    return PathItem(
        post=operation(f"a1111_{name}", TAG, text, answers, sent=asked, parameters=parameters, security=SECURITY)
    )


def _with_images(mode: OperationName) -> Schema:
    """The schema of a request: as it is validated, with a list of one image."""
    schema = FORMS[mode].model_json_schema()
    image = schema["properties"]["init_images"]
    schema["properties"]["init_images"] = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": 1,
        "description": image["description"],
        "examples": [image["examples"]],
    }
    required = [name for name in schema["required"] if name != "mask"]
    return Schema.model_validate({"type": "object", "properties": schema["properties"], "required": required})


def _lists() -> Iterator[tuple[str, PathItem]]:
    for name, content in LISTS.items():
        shape = _LIST if isinstance(content, list) else _OBJECT
        yield name, _get(name.replace("-", "_"), f"The {name.replace('-', ' ')} of this server", shape)
    yield "loras", _get("loras", "The LoRAs that prompts may name", _LIST)
    yield "embeddings", _get("embeddings", "The embeddings that prompts may name", _OBJECT)
    yield "sd-vae", _get("sd_vae", "The autoencoders that requests may name", _LIST)
    for name in NOTHING_TO_DO:
        yield name, _post(name.replace("-", "_"), "Nothing, because models come and go by themselves", _NULL)


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    options = _get("options", "The options of this server process", A1111Options)
    options.post = _post("set_options", "Change options", _NULL, _OBJECT, required=False).post
    api = {
        "txt2img": _post("txt2img", "Pictures from text", A1111Pictures, FORMS["txt2img"], required=False),
        "img2img": _post(
            "img2img",
            "Pictures from an image: all over, or where a mask is white",
            A1111Pictures,
            _with_images("masking"),
        ),
        "options": options,
        "progress": _get("progress", "How far the caller's job is", A1111Progress, ProgressQuery),
        "interrupt": _post("interrupt", "End the caller's jobs", _OBJECT, query=JobQuery),
        "skip": _post("skip", "End the caller's running job", _OBJECT, query=JobQuery),
        "sd-models": _get("sd_models", "The models of this server", _LIST),
        "memory": _get("memory", "The memory of the server and its graphics card", _OBJECT),
        **dict(_lists()),
        "extra-single-image": _post("extra_single_image", "Resize a picture", Resized, ResizeOne),
        "extra-batch-images": _post("extra_batch_images", "Resize several pictures", SeveralResized, ResizeSeveral),
        "png-info": _post("png_info", "How a picture was made", PictureInformation, OnePicture),
        "interrogate": PathItem(
            post=operation(
                "a1111_interrogate",
                TAG,
                "What a picture shows, which no model here can say",
                _failures(401, 403, 404, 413, 415, 500, 503),
                security=SECURITY,
            )
        ),
    }
    photoshop = "/sdapi/auto-photoshop-sd"
    return {
        **{f"/sdapi/v1/{name}": item for name, item in api.items()},
        f"{photoshop}/heartbeat": _get("heartbeat", "Check that Auto-Photoshop finds what it needs", _OBJECT),
        f"{photoshop}/mask/expansion/": _post("expand_mask", "Let a mask grow", GrownMask, Expansion),
        f"{photoshop}/vae/list": _get("vae_list", "The autoencoders that may be chosen", _LIST),
        f"{photoshop}/controlnet/filter": _post(
            "controlnet_filter", "The models and preprocessors of ControlNet", _OBJECT
        ),
        "/controlnet/version": _get("controlnet_version", "The version of ControlNet's requests", _OBJECT),
        "/controlnet/settings": _get("controlnet_settings", "How many units of ControlNet act at once", _OBJECT),
        "/controlnet/model_list": _get("controlnet_models", "The ControlNets and T2I adapters", _OBJECT),
        "/controlnet/module_list": _get("controlnet_modules", "The preprocessors", _OBJECT),
        "/controlnet/control_types": _get("controlnet_types", "The preprocessors with the models for them", _OBJECT),
        "/controlnet/detect": _post("controlnet_detect", "What a preprocessor makes of pictures", _OBJECT, Detect),
        "/queue/status": _get("queue_status", "How many jobs there are", _OBJECT),
        "/user": _get("user", "The user of a session, which there is none of here", _OBJECT),
    }
