"""The queries and answers of the plugin's endpoints, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase
from sd_api.generation.operation import OperationName
from sd_api.jobs.job import State
from sd_api.web.estimates import EstimateAnswer
from sd_api.web.placements import Placed


class FaultyField(BaseModel):
    """The fault of one field."""

    field: str = Field(description="its name in the form", examples=["prompt"])
    message: str = Field(description="what is wrong with it", examples=["prompt is missing"])


class Failure(BaseModel):
    """Every failure of these endpoints."""

    status: Literal["failure"] = Field(description="failure")
    message: str = Field(
        description="what happened and what to do, for the person who reads it", examples=["prompt is missing"]
    )
    errors: list[FaultyField] | None = Field(
        default=None,
        description="every faulty field, where the failure is about fields",
        examples=[[{"field": "prompt", "message": "prompt is missing"}]],
    )


class Success(BaseModel):
    """A successful answer."""

    status: Literal["success"] = Field(description="success")


class PluginImage(Placed):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line", examples=["iVBORw0KGgo…"])
    seed: int = Field(description="the seed that reproduces this picture", examples=[42])
    variation_seed: int | None = Field(
        default=None, description="reproduces the variation, together with seed", examples=[7]
    )
    mimetype: Literal["image/png"] = Field(description="the media type of the file")
    mime_type: Literal["image/png"] = Field(description="the same; clients read either")
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black", examples=[False])


class Pictures(Success):
    """The pictures of one request."""

    images: list[PluginImage] = Field(description="the pictures, in the order of their seeds")
    warnings: list[str] | None = Field(
        default=None,
        description="what had to be done in a lesser way",
        examples=[["clip_skip has no effect with this model"]],
    )


class DocumentEntry(BaseModel):
    """A picture that is kept; times are in seconds since 1970."""

    id: str = Field(description="what to send in the place of an image", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    media_type: str = Field(description="its media type", examples=["image/png"])
    bytes: int = Field(description="the size of its file", examples=[14000000])
    created: float = Field(description="when it was sent", examples=[1767225600.0])
    expires: float = Field(description="when it is deleted", examples=[1769817600.0])
    width: int | None = Field(default=None, description="pixels; when it is sent", examples=[4000])
    height: int | None = Field(default=None, description="pixels; when it is sent", examples=[3000])


class OneDocument(Success):
    """A document."""

    document: DocumentEntry = Field(description="the document")


class OneEstimate(Success):
    """What a form would take."""

    estimate: EstimateAnswer = Field(description="regions, steps, time and memory")


class AccessQuery(BaseModel):
    """The address and the web page to check."""

    address: str = Field(
        min_length=1,
        description="as a client would write it, like http://my-pc:1337",
        examples=["http://127.0.0.1:1337"],
    )
    origin: str = Field(
        description="the origin of a web page, like https://studio.example", examples=["https://studio.example"]
    )


class Access(Success):
    """The access rules."""

    listens_on: str = Field(description="the address that the server listens on", examples=["127.0.0.1"])
    port: int = Field(description="its port", examples=[1337])
    allowed_hosts: list[str] = Field(
        description="the names of the configuration by which it may be called", examples=[["my-pc"]]
    )
    allowed_origins: list[str] = Field(
        description="the web pages of the configuration that may call it", examples=[["https://studio.example"]]
    )
    require_token: bool = Field(
        description="whether the plugin's endpoints need a token; this one never does", examples=[False]
    )
    share_jobs: bool = Field(
        description="whether all callers see, fetch and cancel each other's jobs", examples=[False]
    )
    enable_signup: bool = Field(description="whether signing up is open to every caller", examples=[False])
    enable_public_token: bool = Field(
        description="whether every caller may have a token without signing up", examples=[False]
    )
    refusal: str | None = Field(
        default=None,
        description="the error message for a request with that address and origin; null if it is allowed",
        examples=[None],
    )


class JobQuery(BaseModel):
    """What of a job is asked for."""

    preview: bool = Field(
        default=False, description="whether to add a preview of its first picture while it runs", examples=[True]
    )


class MoveQuery(BaseModel):
    """Where a waiting job goes among yours; without either, it becomes the first of them."""

    before: str = Field(
        default="", description="the waiting job that it shall come right before", examples=["my-first-picture"]
    )
    after: str = Field(default="", description="or the one that it shall come right after", examples=[""])


class JobProgress(BaseModel):
    """The progress of a job."""

    phase: Phase = Field(description="what is done now")
    step: int = Field(description="the steps of all its pictures that are done", examples=[5])
    steps: int = Field(description="the steps of all its pictures; 0 while unknown", examples=[20])
    bytes: int | None = Field(
        default=None, description="while downloading: the bytes of the model that have arrived", examples=[1000000]
    )
    total_bytes: int | None = Field(
        default=None, description="while downloading: the bytes of the model in all", examples=[5000000000]
    )


class JobEntry(BaseModel):
    """One job; times are in seconds since 1970."""

    id: str = Field(description="its id", examples=["my-first-picture"])
    dialect: Literal["plugin", "tasks", "openai", "a1111"] = Field(description="in which it was asked for")
    mode: OperationName = Field(description="its operation")
    model: str | None = Field(description="the url_path of a custom model; null for the main model", examples=[None])
    state: State = Field(description="its state")
    created: float = Field(description="when it came", examples=[1767225600.0])
    started: float | None = Field(description="when it was begun", examples=[1767225601.0])
    ended: float | None = Field(description="when it ended", examples=[None])
    progress: JobProgress | None = Field(description="how far it is; null before it runs")
    message: str | None = Field(description="why it failed or was cancelled", examples=[None])
    preview: str | None = Field(description="a small PNG in base64, if it was asked for", examples=[None])
    position: int | None = Field(description="its position in the queue, from 1", examples=[1])
    seconds_left: float | None = Field(
        description="how long it will take yet, in seconds; null while unknown", examples=[2.5]
    )


class OneJob(Success):
    """A job, or null."""

    job: JobEntry | None = Field(description="the job; null if none is running")


class Jobs(Success):
    """Your running jobs, then your waiting ones in queue order."""

    jobs: list[JobEntry] = Field(description="the jobs")
    others: int = Field(description="how many jobs of others run or wait", examples=[0])


class LoadedModelEntry(BaseModel):
    """A model that is loaded."""

    model: str = Field(description="its name", examples=["builtin"])
    bytes: int = Field(description="the size of its weights", examples=[6000000])
    on_device: bool = Field(
        description="whether it is on the device, rather than in the host's memory", examples=[True]
    )
    load_seconds: float = Field(description="how long loading took, its download included", examples=[0.4])
    plan: str = Field(
        description="how it runs: its precision, how its weights are stored, where its parts are, what computes "
        "attention",
        examples=["fp16, weights as published, all parts on the device, native attention"],
    )
    reasons: list[str] = Field(description="why it runs so", examples=[["fp16 is this device's precision"]])
    peak: int | None = Field(
        description="the most bytes of the device's memory that one picture of its native size takes, about; null if "
        "that is not known",
        examples=[3600000000],
    )
    seen: int = Field(
        description="the pixels of images for which that is enough, which a model for edits sees beside its picture",
        examples=[0],
    )
    more_seen: int = Field(
        description="the bytes that each further million of such pixels takes at most; 0 where it sees none",
        examples=[0],
    )


class MemoryEntry(BaseModel):
    """The memory of a device, in bytes."""

    total: int = Field(description="all of it", examples=[24000000000])
    free: int = Field(description="what is free", examples=[20000000000])


class WorkerEntry(BaseModel):
    """A process with an engine."""

    id: str = Field(description="its id", examples=["my-pc-1234"])
    host: str = Field(description="the name of its machine", examples=["my-pc"])
    version: str = Field(
        description="its version; a worker takes only jobs of servers of the same version", examples=["0.1.0"]
    )
    started: float = Field(description="seconds since 1970", examples=[1767225600.0])
    state: Literal["loading", "ready", "failed"] = Field(description="its state")
    message: str | None = Field(description="why it failed, and what to do", examples=[None])
    device: str | None = Field(description="its device; null until it is known", examples=["cuda:0"])
    dtype: str | None = Field(description="its precision; null until it is known", examples=["fp16"])
    memory: MemoryEntry | None = Field(description="null if the device shares the host's memory")
    models: list[LoadedModelEntry] = Field(description="the models that it has loaded")
    busy: bool = Field(description="whether it works on jobs, those of others included", examples=[True])
    jobs: list[str] = Field(description="your jobs that it works on", examples=[["my-first-picture"]])


class Workers(Success):
    """The workers, the oldest first."""

    workers: list[WorkerEntry] = Field(description="the workers")


class FailedJob(BaseModel):
    """A job that failed; the time is in seconds since 1970."""

    time: float = Field(description="when it failed", examples=[1767225600.0])
    job_id: str = Field(description="its id", examples=["my-first-picture"])
    mode: OperationName = Field(description="its operation")
    model: str | None = Field(description="the url_path of a custom model; null for the main model", examples=[None])
    message: str = Field(description="why it failed, and what to do", examples=["The device is out of memory."])


class RefusedCallerEntry(BaseModel):
    """A caller that was refused by its Host or Origin; the time is in seconds since 1970."""

    header: Literal["Host", "Origin"] = Field(description="the header by which it was refused")
    value: str = Field(description="what that header said", examples=["https://studio.example"])
    count: int = Field(description="how often it was refused", examples=[3])
    time: float = Field(description="when it was refused last", examples=[1767225600.0])
    setting: str | None = Field(
        description="the line of the configuration that would let it in; null if no line can, because it is no name",
        examples=['"allowed_origins": ["https://studio.example"]'],
    )


class ModelDownload(BaseModel):
    """How far the download of a model is."""

    bytes: int = Field(description="those that have arrived", examples=[1200000000])
    total_bytes: int = Field(description="those of all its files", examples=[5000000000])


class Health(BaseModel):
    """The state of the engine, its device and models, your last failures, and who was refused."""

    status: Literal["loading", "ready", "failed"] = Field(description="the state of the engine")
    model: str = Field(description="the main model", examples=["stable-diffusion-v1-5/stable-diffusion-v1-5"])
    device: str | None = Field(description="the device; null until it is known", examples=["cuda:0"])
    dtype: str | None = Field(description="the precision; null until it is known", examples=["fp16"])
    download: ModelDownload | None = Field(description="of the main model, while it is downloaded; else null")
    models: list[LoadedModelEntry] = Field(description="the models that are loaded")
    versions: dict[str, str] = Field(
        description="the versions of the server and of what it runs on",
        examples=[{"server": "0.1.0", "python": "3.12.1"}],
    )
    failures: list[FailedJob] = Field(description="your last jobs that failed, the latest first")
    refused_callers: list[RefusedCallerEntry] = Field(
        description="whom this process refused in the last hour, the latest first"
    )
    message: str | None = Field(
        default=None, description="why it failed, and what to do", examples=["The hub cannot be reached."]
    )
