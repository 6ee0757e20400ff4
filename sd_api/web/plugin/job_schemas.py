"""The queries and answers of ``/jobs``, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.generation.operation import OperationName
from sd_api.jobs.job import State
from sd_api.web.plugin.schemas import Success
from sd_api.web.progress import ReportedProgress


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


class JobProgress(ReportedProgress):
    """The progress of a job."""


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
