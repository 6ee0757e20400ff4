"""The plugin's endpoints for OpenAPI."""

from typing import Literal

from openapi_pydantic import PathItem, Response, Schema
from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase
from sd_api.generation.request import Mode
from sd_api.jobs.job import State
from sd_api.settings import Limits
from sd_api.web.description import FORM, PLAIN, TEXT, TOKEN, answer, body, in_path, in_query, operation
from sd_api.web.plugin.forms import ImageToImageForm, MaskingForm, TextToImageForm

# Without a token, unless require_token is set.
SECURITY: list[dict[str, list[str]]] = [{}, *TOKEN]

TAG = "plugin"
JOBS = "jobs"


class Failure(BaseModel):
    """Every failure of these endpoints."""

    status: Literal["failure"]
    message: str = Field(description="what happened and what to do, for the person who reads it")


class Success(BaseModel):
    """Whatever went well."""

    status: Literal["success"]


class PluginImage(BaseModel):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line")
    seed: int = Field(description="that makes this picture again")
    mimetype: Literal["image/png"]
    mime_type: Literal["image/png"]
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black")


class Pictures(Success):
    """The pictures of one request."""

    images: list[PluginImage]
    warnings: list[str] | None = Field(default=None, description="what had to be done in a lesser way")


class CustomModelEntry(BaseModel):
    """One entry of ``custom_models`` in the configuration."""

    model_path: str
    ui_label: str
    url_path: str
    requires_safety_checker: bool


class OfferedModel(BaseModel):
    """A model, and what a form for it may ask."""

    label: str
    url_path: str | None = Field(description="null for the main one")
    paths: dict[Mode, str] = Field(description="where to post each kind of form")
    modes: list[Mode] | None = Field(description="the kinds that it was made for; null until it is loaded")
    size_multiple: int | None = Field(description="what other sizes are padded up to; null until it is loaded")
    native_size: int | None = Field(
        description="the side of the squares that it was trained with; null until it is loaded, or if it does not say"
    )
    requires_safety_checker: bool


class OfferedField(BaseModel):
    """A field of the forms; what it does not have is left out."""

    modes: list[Mode] = Field(description="the forms that it belongs to")
    default: str | int | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None


class Offer(Success):
    """Everything that can be asked for."""

    models: list[OfferedModel] = Field(description="the main one first")
    schedulers: list[str]
    fields: dict[str, OfferedField]
    limits: Limits = Field(description="those of the configuration")


class AccessQuery(BaseModel):
    """Whom to judge."""

    address: str = Field(min_length=1, description="as a client would write it, like http://my-pc:1337")
    origin: str = Field(description="of a web page, like https://studio.example")


class Access(Success):
    """Who may call."""

    listens_on: str
    port: int
    allowed_hosts: list[str]
    allowed_origins: list[str]
    require_token: bool = Field(description="whether the plugin's endpoints need a token; this one never does")
    enable_signup: bool = Field(description="whether anybody may become a user")
    enable_public_token: bool = Field(description="whether anybody may have a token without being a user")
    refusal: str | None = Field(
        default=None, description="what a caller of that address would be answered; null where it would be let in"
    )


class JobProgress(BaseModel):
    """Where a job stands."""

    phase: Phase
    step: int
    steps: int = Field(description="of all its pictures; 0 while that is not known")
    bytes: int | None = Field(default=None, description="while downloading: what has arrived of the model")
    total_bytes: int | None = Field(default=None, description="while downloading: what there is of it")


class JobEntry(BaseModel):
    """One job; times are in seconds since 1970."""

    id: str
    mode: Mode
    model: str | None = Field(description="the url_path of a custom model; null for the main one")
    state: State
    created: float
    started: float | None
    ended: float | None
    progress: JobProgress | None
    message: str | None = Field(description="why it failed or was cancelled")
    preview: str | None = Field(description="a small PNG in base64, if it was asked for")
    position: int | None = Field(description="its place in the queue, 1 being the next")
    seconds_left: float | None


class OneJob(Success):
    """A job, or none."""

    job: JobEntry | None


class Jobs(Success):
    """Jobs in the order of their turns."""

    jobs: list[JobEntry]


class LoadedModelEntry(BaseModel):
    """A model that is loaded."""

    model: str
    bytes: int
    on_device: bool
    load_seconds: float = Field(description="how long loading took, its download included")


class MemoryEntry(BaseModel):
    """The memory of a device, in bytes."""

    total: int
    free: int


class WorkerEntry(BaseModel):
    """A process with an engine."""

    id: str
    host: str = Field(description="the name of its machine")
    version: str = Field(description="of its program; it takes jobs of servers of the same version")
    started: float = Field(description="in seconds since 1970")
    state: Literal["loading", "ready", "failed"]
    message: str | None = Field(description="why it failed, and what to do")
    device: str | None
    dtype: str | None
    memory: MemoryEntry | None = Field(description="null where the device shares the machine's")
    models: list[LoadedModelEntry]
    busy: bool = Field(description="whether it works on jobs, those of tasks included")
    jobs: list[str] = Field(description="the jobs that it works on, without those of tasks")


class Workers(Success):
    """All that make pictures, those that began first before the others."""

    workers: list[WorkerEntry]


class FailedJob(BaseModel):
    """A job that failed; the time is in seconds since 1970."""

    time: float
    job_id: str
    mode: Mode
    model: str | None = Field(description="the url_path of a custom model; null for the main one")
    message: str


class Health(BaseModel):
    """Whether pictures can be made now, and with what."""

    status: Literal["loading", "ready", "failed"]
    model: str
    device: str | None
    dtype: str | None
    models: list[LoadedModelEntry]
    versions: dict[str, str]
    failures: list[FailedJob] = Field(description="the last jobs that failed, the latest first")
    message: str | None = Field(default=None, description="why it failed, and what to do")


def _failures(*statuses: int) -> dict[int, Response]:
    texts = {
        400: "a field is missing, malformed or repeated, an image is damaged, or the body is no form",
        401: "the configuration wants a token, and there is no valid one",
        403: "the Host or the Origin is not an allowed one",
        404: "there is none of that name",
        409: "the job was cancelled or has no result yet, or its job_id is another job's",
        413: "more bytes or more fields than the limit",
        422: "a well-formed value outside the limits",
        500: "a fault of the server; its log explains the id in the message",
        503: "busy, the model cannot be had, out of memory, or shutting down",
    }
    return {status: answer(texts[status], Failure) for status in statuses}


def _made() -> dict[int, Response]:
    return {
        200: answer("the pictures", Pictures),
        202: answer("the job, with wait=false", OneJob),
        **_failures(400, 401, 403, 409, 413, 422, 500, 503),
    }


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    read = _failures(401, 403, 500, 503)
    text = {"prompt": "a dog on a blue background", "num_inference_steps": 20, "seed": 42}
    image = text | {"init_image": "iVBORw0KGgo…", "strength": 0.7}
    job = in_path("job_id", "which job")
    models = Schema.model_validate({"type": "array", "items": CustomModelEntry.model_json_schema()})
    not_ready = Schema.model_validate(
        {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Health", "Failure")]}
    )
    one, several = answer("the job", OneJob), answer("the jobs", Jobs)
    return {
        "/ping": PathItem(
            get=operation("ping", TAG, "Whether the server is there", {200: answer("it is", Success), **read})
        ),
        "/health": PathItem(
            get=operation(
                "health",
                TAG,
                "Whether pictures can be made now, and with what",
                {200: answer("loading or ready", Health), **read, 503: answer("failed, or shutting down", not_ready)},
                security=SECURITY,
            )
        ),
        "/metrics": PathItem(
            get=operation(
                "metrics",
                TAG,
                "The figures of the server, for Prometheus",
                {200: answer("its text format, version 0.0.4", TEXT, kind=PLAIN), **read},
                security=SECURITY,
            )
        ),
        "/workers": PathItem(
            get=operation(
                "workers",
                TAG,
                "Who makes the pictures, on which machine and with what",
                {200: answer("all that live", Workers), **read},
                security=SECURITY,
            )
        ),
        "/custom_models": PathItem(
            get=operation(
                "custom_models",
                TAG,
                "The custom models of the configuration",
                {200: answer("the models", models), **read},
                security=SECURITY,
            )
        ),
        "/models": PathItem(
            get=operation(
                "models",
                TAG,
                "The models, what each can do, and the fields of the forms",
                {200: answer("what there is", Offer), **read},
                security=SECURITY,
            )
        ),
        "/access": PathItem(
            get=operation(
                "access",
                TAG,
                "Who may call, how to come to a token, and whether a given address or page would be let in",
                {200: answer("who may", Access), **_failures(400, 403, 500, 503)},
                parameters=in_query(AccessQuery),
            )
        ),
        "/txt2img": PathItem(
            post=operation(
                "txt2img", TAG, "Text to image", _made(), sent=body(FORM, TextToImageForm, text), security=SECURITY
            )
        ),
        "/img2img": PathItem(
            post=operation(
                "img2img", TAG, "Image to image", _made(), sent=body(FORM, ImageToImageForm, image), security=SECURITY
            )
        ),
        "/masking": PathItem(
            post=operation(
                "masking",
                TAG,
                "Replace what a mask shows in white",
                _made(),
                sent=body(FORM, MaskingForm, image | {"mask_image": "iVBORw0KGgo…"}),
                security=SECURITY,
            )
        ),
        "/custom/{url_path}": PathItem(
            post=operation(
                "custom",
                TAG,
                "Any of the three with a custom model: masking with mask_image, image to image with init_image alone",
                {**_made(), **_failures(404)},
                sent=body(FORM, TextToImageForm, text),
                parameters=[in_path("url_path", "the model's url_path; slashes stay as they are")],
                security=SECURITY,
            )
        ),
        "/jobs": PathItem(
            get=operation("jobs", JOBS, "The jobs that run or wait", {200: several, **read}, security=SECURITY)
        ),
        "/jobs/{job_id}": PathItem(
            get=operation(
                "job", JOBS, "One job", {200: one, **read, **_failures(404)}, parameters=[job], security=SECURITY
            )
        ),
        "/jobs/{job_id}/result": PathItem(
            get=operation(
                "job_result",
                JOBS,
                "The pictures of a job that was sent with wait=false",
                {200: answer("the pictures", Pictures), **read, **_failures(404, 409, 422)},
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/cancel": PathItem(
            post=operation(
                "cancel_job",
                JOBS,
                "End one job",
                {200: one, **read, **_failures(404, 413)},
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/progress": PathItem(
            get=operation("progress", JOBS, "The job that runs now", {200: one, **read}, security=SECURITY)
        ),
    }
