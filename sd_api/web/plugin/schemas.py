"""The queries and answers of the plugin's endpoints, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase
from sd_api.generation.fields import Control
from sd_api.generation.operations import OperationName
from sd_api.jobs.job import State
from sd_api.settings import Limits


class FaultyField(BaseModel):
    """The fault of one field."""

    field: str = Field(description="its name in the form")
    message: str


class Failure(BaseModel):
    """Every failure of these endpoints."""

    status: Literal["failure"]
    message: str = Field(description="what happened and what to do, for the person who reads it")
    errors: list[FaultyField] | None = Field(
        default=None, description="every faulty field, where the failure is about fields"
    )


class Success(BaseModel):
    """A successful answer."""

    status: Literal["success"]


class PluginImage(BaseModel):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line")
    seed: int = Field(description="the seed that reproduces this picture")
    variation_seed: int | None = Field(default=None, description="reproduces the variation, together with seed")
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
    """A model, with its paths and capabilities."""

    label: str
    url_path: str | None = Field(description="null for the main model")
    paths: dict[OperationName, str] = Field(description="the path to which to post each kind of form")
    modes: list[OperationName] | None = Field(description="the operations that it supports; null until it is loaded")
    size_multiple: int | None = Field(description="other sizes are padded to its multiples; null until it is loaded")
    native_size: int | None = Field(
        description="the side of the squares that it was trained with; null until it is loaded, or if it does not say"
    )
    capabilities: list[str] | None = Field(
        description="the values of requires whose fields have an effect; null until the model is loaded"
    )
    schedulers: list[str] | None = Field(
        description="the schedulers that work with the model, empty if none may be named; null until it is loaded"
    )
    requires_safety_checker: bool


class OfferedField(BaseModel):
    """A field of the forms; properties that it does not have are absent."""

    modes: list[OperationName] = Field(description="the forms that it belongs to")
    default: str | int | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    label: str | None = Field(default=None, description="its name for a person")
    description: str | None = None
    control: Control | None = Field(default=None, description="how a form shows it")
    step: float | None = Field(default=None, description="the increment of a number's control")
    slider_maximum: float | None = Field(default=None, description="the upper end of a slider, below maximum")
    unit: str | None = None
    choices: list[str] | None = Field(default=None, description="the valid texts")
    choice_labels: dict[str, str] | None = Field(default=None, description="what a form calls each of them")
    requires: str | None = Field(default=None, description="the capability that a model needs for it")
    acts_with: dict[str, str] | None = Field(
        default=None, description="the value that another field must have for it to act"
    )
    png_key: str | None = Field(default=None, description="its name in the parameters text of a picture")


class Offer(Success):
    """The models, schedulers, fields and limits."""

    models: list[OfferedModel] = Field(description="the main model first")
    schedulers: list[str]
    fields: dict[str, OfferedField]
    limits: Limits = Field(description="the limits of the configuration")


class AccessQuery(BaseModel):
    """The address and the web page to check."""

    address: str = Field(min_length=1, description="as a client would write it, like http://my-pc:1337")
    origin: str = Field(description="the origin of a web page, like https://studio.example")


class Access(Success):
    """The access rules."""

    listens_on: str
    port: int
    allowed_hosts: list[str]
    allowed_origins: list[str]
    require_token: bool = Field(description="whether the plugin's endpoints need a token; this one never does")
    share_jobs: bool = Field(description="whether all callers see, fetch and cancel each other's jobs")
    enable_signup: bool = Field(description="whether signing up is open to every caller")
    enable_public_token: bool = Field(description="whether every caller may have a token without signing up")
    refusal: str | None = Field(
        default=None, description="the error message for a request with that address and origin; null if it is allowed"
    )


class JobProgress(BaseModel):
    """The progress of a job."""

    phase: Phase
    step: int
    steps: int = Field(description="the steps of all its pictures; 0 while unknown")
    bytes: int | None = Field(default=None, description="while downloading: the bytes of the model that have arrived")
    total_bytes: int | None = Field(default=None, description="while downloading: the bytes of the model in all")


class JobEntry(BaseModel):
    """One job; times are in seconds since 1970."""

    id: str
    mode: OperationName
    model: str | None = Field(description="the url_path of a custom model; null for the main model")
    state: State
    created: float
    started: float | None
    ended: float | None
    progress: JobProgress | None
    message: str | None = Field(description="why it failed or was cancelled")
    preview: str | None = Field(description="a small PNG in base64, if it was asked for")
    position: int | None = Field(description="its position in the queue, from 1")
    seconds_left: float | None


class OneJob(Success):
    """A job, or null."""

    job: JobEntry | None


class Jobs(Success):
    """Your running jobs, then your waiting ones in queue order."""

    jobs: list[JobEntry]
    others: int = Field(description="how many jobs of others run or wait")


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
    version: str = Field(description="its version; a worker takes only jobs of servers of the same version")
    started: float = Field(description="seconds since 1970")
    state: Literal["loading", "ready", "failed"]
    message: str | None = Field(description="why it failed, and what to do")
    device: str | None
    dtype: str | None
    memory: MemoryEntry | None = Field(description="null if the device shares the host's memory")
    models: list[LoadedModelEntry]
    busy: bool = Field(description="whether it works on jobs, those of others included")
    jobs: list[str] = Field(description="your jobs that it works on")


class Workers(Success):
    """The workers, the oldest first."""

    workers: list[WorkerEntry]


class FailedJob(BaseModel):
    """A job that failed; the time is in seconds since 1970."""

    time: float
    job_id: str
    mode: OperationName
    model: str | None = Field(description="the url_path of a custom model; null for the main model")
    message: str


class RefusedCallerEntry(BaseModel):
    """A caller that was refused by its Host or Origin; the time is in seconds since 1970."""

    header: Literal["Host", "Origin"]
    value: str
    count: int
    time: float = Field(description="when it was refused last")
    setting: str | None = Field(
        description="the line of the configuration that would let it in; null if no line can, because it is no name"
    )


class Health(BaseModel):
    """The state of the engine, its device and models, your last failures, and who was refused."""

    status: Literal["loading", "ready", "failed"]
    model: str
    device: str | None
    dtype: str | None
    models: list[LoadedModelEntry]
    versions: dict[str, str]
    failures: list[FailedJob] = Field(description="your last jobs that failed, the latest first")
    refused_callers: list[RefusedCallerEntry] = Field(
        description="whom this process refused in the last hour, the latest first"
    )
    message: str | None = Field(default=None, description="why it failed, and what to do")
