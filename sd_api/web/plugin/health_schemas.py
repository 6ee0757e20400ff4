"""The answers of ``/health`` and ``/workers``, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.operation import OperationName
from sd_api.web.plugin.schemas import Success


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
