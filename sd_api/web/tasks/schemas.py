"""The shapes of this dialect's answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase
from sd_api.tasks.parameters import PARAMETERS


class Detail(BaseModel):
    """A failure."""

    detail: str = Field(description="what happened and what to do, for the person who reads it")


class FieldFault(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="where it stands, such as body, prompt")
    msg: str
    type: str


class ValidationFailure(BaseModel):
    """Fields are missing, malformed or outside the limits."""

    detail: list[FieldFault]


class NewUser(BaseModel):
    """A user who has just signed up."""

    username: str


class Token(BaseModel):
    """What to send as ``Authorization: Bearer <access_token>``."""

    access_token: str
    token_type: Literal["bearer"]


class _Told(BaseModel):
    task_id: str
    event_id: int = Field(description="larger for what happened later; for since=<event_id>")


class PendingEvent(_Told):
    """The task waits for its turn."""

    event_type: Literal["pending"]


class StartedEvent(_Told):
    """The task runs."""

    event_type: Literal["started"]


class GeneratedBlob(BaseModel):
    """A picture."""

    blob_id: str
    parameters_used: Any = Field(
        description="every parameter, with what the server chose",
        json_schema_extra={
            "anyOf": [{"$ref": f"#/components/schemas/{model.__name__}"} for model in PARAMETERS.values()]
        },
    )
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black")


class FinishedEvent(_Told):
    """The pictures are there."""

    event_type: Literal["finished"]
    image: GeneratedBlob = Field(description="the first picture")
    images: list[GeneratedBlob] = Field(description="all of them")
    warnings: list[str] = Field(description="what had to be done in a lesser way")


class CancelledEvent(_Told):
    """The task ended without pictures: somebody wanted it so, or it failed."""

    event_type: Literal["cancelled"]
    reason: str


class ProgressEvent(BaseModel):
    """How far a running task is; only told to listeners who ask for it, and not kept."""

    event_type: Literal["progress"]
    task_id: str
    phase: Phase
    step: int
    steps: int = Field(description="of all its pictures; 0 while that is not known")
    bytes: int | None = Field(default=None, description="while downloading: what has arrived of the model")
    total_bytes: int | None = Field(default=None, description="while downloading: what there is of it")
    seconds_left: float | None
    preview_blob_id: str | None = Field(
        default=None, description="with preview=1: the blob of how the first picture looks now, while the task runs"
    )


LastEvent = Annotated[PendingEvent | StartedEvent | FinishedEvent | CancelledEvent, Field(discriminator="event_type")]


class TaskEntry(BaseModel):
    """A task in a list."""

    task_id: str
    created: float = Field(description="in seconds since 1970")
    parameters: dict[str, Any] = Field(description="every parameter, with what the server chose")
    last_event: LastEvent


class TaskList(BaseModel):
    """A part of the caller's tasks, the newest first."""

    tasks: list[TaskEntry]
