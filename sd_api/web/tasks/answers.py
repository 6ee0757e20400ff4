"""Answers of the task server: events, tasks, and this dialect's shape of failures."""

from collections.abc import Mapping
from typing import Any

from sd_api.errors import ServerError
from sd_api.storage.protocols import Event, Task
from sd_api.tasks.requests import shown_parameters
from sd_api.web.tasks.bodies import Unprocessable

# The first part of each of this dialect's paths.
PATHS = ("user", "token", "task", "tasks", "blob", "events")


def event_json(event: Event) -> dict[str, Any]:
    """An event as JSON, the same for polling, websockets and streams."""
    ids: dict[str, Any] = {"task_id": event.task_id}
    if event.id is not None:
        ids["event_id"] = event.id
    return {"event_type": event.content["event_type"], **ids, **event.content}


def task_json(task: Task, last_event: Event) -> dict[str, Any]:
    """A task as JSON, for a list of tasks."""
    return {
        "task_id": task.id,
        "created": task.created,
        "parameters": shown_parameters(task.parameters),
        "last_event": event_json(last_event),
    }


def failure(error: ServerError, status: int) -> tuple[Mapping[str, Any], int]:
    """See Render."""
    if isinstance(error, Unprocessable):
        return {"detail": error.details}, 422
    if error.errors:
        faults = [{"loc": ["body", fault.field], "msg": fault.message, "type": "value_error"} for fault in error.errors]
        return {"detail": faults}, 422
    return {"detail": error.message}, status
