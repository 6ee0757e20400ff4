"""The shapes of this dialect's answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from sd_api.generation.engine import Phase
from sd_api.tasks.parameters import PARAMETERS

_REFS: dict[str, Any] = {kind: f"#/components/schemas/{model.__name__}" for kind, model in PARAMETERS.items()}


class Detail(BaseModel):
    """A failure."""

    detail: str = Field(description="what happened and what to do, for the person who reads it")


class FieldFault(BaseModel):
    """The fault of one field."""

    loc: list[str | int] = Field(description="the path of the field, such as body, prompt")
    msg: str
    type: str


class ValidationFailure(BaseModel):
    """Fields are missing, malformed or outside the limits."""

    detail: list[FieldFault]


class NewUser(BaseModel):
    """A user who has just signed up."""

    username: str


class Token(BaseModel):
    """An access token, to be sent as ``Authorization: Bearer <access_token>``."""

    access_token: str
    token_type: Literal["bearer"]


class _StoredEvent(BaseModel):
    task_id: str
    event_id: int = Field(description="larger for later events; to be sent as since=<event_id>")


class PendingEvent(_StoredEvent):
    """The task is queued."""

    event_type: Literal["pending"]


class StartedEvent(_StoredEvent):
    """The task has been started."""

    event_type: Literal["started"]


class GeneratedBlob(BaseModel):
    """A picture."""

    blob_id: str
    parameters_used: Any = Field(
        description="every parameter, those included that the server has chosen",
        json_schema_extra={
            "oneOf": [{"$ref": ref} for ref in _REFS.values()],
            # By its default rule the values would be the schemas' names.
            "discriminator": {"propertyName": "task_type", "mapping": _REFS},
        },
    )
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black")


class FinishedEvent(_StoredEvent):
    """The task has finished; its pictures are stored."""

    event_type: Literal["finished"]
    image: GeneratedBlob = Field(description="the first picture")
    images: list[GeneratedBlob] = Field(description="all of them")
    warnings: list[str] = Field(description="what had to be done in a lesser way")


class CancelledEvent(_StoredEvent):
    """The task ended without pictures, because it was cancelled or failed."""

    event_type: Literal["cancelled"]
    reason: str


class ProgressEvent(BaseModel):
    """The progress of a running task; sent only to listeners that ask for it, and not stored."""

    event_type: Literal["progress"]
    task_id: str
    phase: Phase
    step: int
    steps: int = Field(description="the steps of all its pictures; 0 while unknown")
    bytes: int | None = Field(default=None, description="while downloading: the bytes of the model that have arrived")
    total_bytes: int | None = Field(default=None, description="while downloading: the bytes of the model in all")
    seconds_left: float | None
    preview_blob_id: str | None = Field(
        default=None, description="with preview=1: the blob with a preview of the first picture, while the task runs"
    )


class LastEvent(
    RootModel[
        Annotated[PendingEvent | StartedEvent | FinishedEvent | CancelledEvent, Field(discriminator="event_type")]
    ]
):
    """A stored event, of any kind."""


class TaskEntry(BaseModel):
    """A task in a list."""

    task_id: str
    created: float = Field(description="seconds since 1970")
    parameters: dict[str, Any] = Field(description="every parameter, those included that the server has chosen")
    last_event: LastEvent


class TaskList(BaseModel):
    """A part of the caller's tasks, the newest first."""

    tasks: list[TaskEntry]
