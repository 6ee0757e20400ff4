"""What the plugin's endpoints take and answer, as OpenAPI describes it."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase
from sd_api.generation.fields import Control
from sd_api.generation.operations import OperationName
from sd_api.jobs.job import State
from sd_api.settings import Limits


class FaultyField(BaseModel):
    """What is wrong with one field."""

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
    """Whatever went well."""

    status: Literal["success"]


class PluginImage(BaseModel):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line")
    seed: int = Field(description="that makes this picture again")
    variation_seed: int | None = Field(default=None, description="that does so together with it, with variations")
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
    paths: dict[OperationName, str] = Field(description="where to post each kind of form")
    modes: list[OperationName] | None = Field(description="the kinds that it was made for; null until it is loaded")
    size_multiple: int | None = Field(description="what other sizes are padded up to; null until it is loaded")
    native_size: int | None = Field(
        description="the side of the squares that it was trained with; null until it is loaded, or if it does not say"
    )
    capabilities: list[str] | None = Field(description="which fields with requires act; null until it is loaded")
    schedulers: list[str] | None = Field(
        description="those that work with it, empty where none may be named; null until it is loaded"
    )
    requires_safety_checker: bool


class OfferedField(BaseModel):
    """A field of the forms; what it does not have is left out."""

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
    requires: str | None = Field(default=None, description="the capability that a model needs for it")
    acts_with: dict[str, str] | None = Field(
        default=None, description="the value that another field must have for it to act"
    )
    png_key: str | None = Field(default=None, description="its name in the parameters text of a picture")


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
    mode: OperationName
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
    mode: OperationName
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
