"""The shapes of this dialect's answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from sd_api.tasks.parameters import PARAMETERS
from sd_api.web.placements import Placed
from sd_api.web.progress import ReportedProgress

_REFS: dict[str, Any] = {kind: f"#/components/schemas/{model.__name__}" for kind, model in PARAMETERS.items()}


class Detail(BaseModel):
    """A failure."""

    detail: str = Field(
        description="what happened and what to do, for the person who reads it",
        examples=["You have no task with that id."],
    )


class FieldFault(BaseModel):
    """The fault of one field."""

    loc: list[str | int] = Field(
        description="the path of the field, such as body, prompt", examples=[["body", "prompt"]]
    )
    msg: str = Field(description="what is wrong with it", examples=["Field required"])
    type: str = Field(description="the kind of the fault", examples=["missing"])


class ValidationFailure(BaseModel):
    """Fields are missing, malformed or outside the limits."""

    detail: list[FieldFault] = Field(description="every faulty field")


class NewUser(BaseModel):
    """A user who has just signed up."""

    username: str = Field(description="the name", examples=["ann"])


class Token(BaseModel):
    """An access token, to be sent as ``Authorization: Bearer <access_token>``."""

    access_token: str = Field(description="the token", examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…"])
    token_type: Literal["bearer"] = Field(description="the kind of token")


class _StoredEvent(BaseModel):
    task_id: str = Field(description="the task", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    event_id: int = Field(description="larger for later events; to be sent as since=<event_id>", examples=[12])


class PendingEvent(_StoredEvent):
    """The task is queued."""

    event_type: Literal["pending"] = Field(description="the kind of event")


class StartedEvent(_StoredEvent):
    """The task has been started."""

    event_type: Literal["started"] = Field(description="the kind of event")


class GeneratedBlob(Placed):
    """A picture."""

    blob_id: str = Field(description="the blob that holds it", examples=["52ab0c1d3e4f5a6b7c8d9e0f1a2b3c4d"])
    parameters_used: Any = Field(
        description="every parameter, those included that the server has chosen",
        json_schema_extra={
            "oneOf": [{"$ref": ref} for ref in _REFS.values()],
            # By its default rule the values would be the schemas' names.
            "discriminator": {"propertyName": "task_type", "mapping": _REFS},
        },
        examples=[{"task_type": "txt2img", "prompt": "corgi with a top hat", "seed": 42}],
    )
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black", examples=[False])


class FinishedEvent(_StoredEvent):
    """The task has finished; its pictures are stored."""

    event_type: Literal["finished"] = Field(description="the kind of event")
    image: GeneratedBlob = Field(description="the first picture")
    images: list[GeneratedBlob] = Field(description="all of them")
    warnings: list[str] = Field(
        description="what had to be done in a lesser way", examples=[["clip_skip has no effect with this model"]]
    )


class CancelledEvent(_StoredEvent):
    """The task ended without pictures, because it was cancelled or failed."""

    event_type: Literal["cancelled"] = Field(description="the kind of event")
    reason: str = Field(description="why", examples=["This task was cancelled."])


class ProgressEvent(ReportedProgress):
    """The progress of a running task; sent only to listeners that ask for it, and not stored."""

    event_type: Literal["progress"] = Field(description="the kind of event")
    task_id: str = Field(description="the task", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    seconds_left: float | None = Field(description="how long it will take yet; null while unknown", examples=[2.5])
    preview_blob_id: str | None = Field(
        default=None,
        description="with preview=1: the blob with a preview of the first picture, while the task runs",
        examples=["0a1b2c3d4e5f60718293a4b5c6d7e8f9"],
    )


class LastEvent(
    RootModel[
        Annotated[PendingEvent | StartedEvent | FinishedEvent | CancelledEvent, Field(discriminator="event_type")]
    ]
):
    """A stored event, of any kind."""


class TaskEntry(BaseModel):
    """A task in a list."""

    task_id: str = Field(description="its id", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    created: float = Field(description="seconds since 1970", examples=[1767225600.0])
    parameters: dict[str, Any] = Field(
        description="every parameter, those included that the server has chosen",
        examples=[{"task_type": "txt2img", "prompt": "corgi with a top hat", "seed": 42}],
    )
    last_event: LastEvent = Field(description="its last event")


class TaskList(BaseModel):
    """A part of the caller's tasks, the newest first."""

    tasks: list[TaskEntry] = Field(description="the tasks")
