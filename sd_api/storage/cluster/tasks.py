"""The task store over Redis."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any
from uuid import uuid4

import redis

from sd_api.cluster.connection import translate_redis_errors
from sd_api.errors import UnknownTask
from sd_api.owners import client_of
from sd_api.settings import Limits
from sd_api.storage.cluster.blobs import blob_arguments
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.protocols import Blob, Event, Task, TaskState
from sd_api.storage.room import Usage, check_tasks, most_tasks


class RedisTasks:
    """A TaskStore over Redis, whose scripts publish each event that they store to all processes."""

    def __init__(self, client: redis.Redis, limits: Limits) -> None:
        self._client = client
        self._commands = Commands(client)
        self._limits = limits

    def add(self, task: Task, content: Mapping[str, Any]) -> Event:
        """See TaskStore."""
        client, parameters = client_of(task.owner), json.dumps(dict(task.parameters))
        fields = (task.id, task.owner, client, parameters, task.created, json.dumps(dict(content)))
        added = self._commands.run("add_task", *astuple(most_tasks(self._limits)), *fields)
        if isinstance(added, list):
            check_tasks(task.owner, Usage(*added), self._limits)
        return Event(int(added), task.id, task.owner, content)

    def record(
        self, task: Task, state: TaskState, content: Mapping[str, Any], images: Sequence[Blob] = ()
    ) -> Event | None:
        """See TaskStore."""
        listed = [argument for image in images for argument in blob_arguments(image)]
        event_id = self._commands.run("record", task.id, uuid4().hex, state, json.dumps(dict(content)), *listed)
        return None if event_id is None else Event(int(event_id), task.id, task.owner, content)

    @translate_redis_errors()
    def task(self, owner: str, task_id: str) -> Task:
        """See TaskStore."""
        found: Any = self._client.hmget(_key(task_id), ("owner", "parameters", "state", "created"))
        if found[0] != owner.encode():
            raise UnknownTask(f"There is no task {task_id[:100]!r} of yours.")
        return read_task([task_id.encode(), *found])

    def tasks(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """See TaskStore."""
        found = self._commands.run("list_tasks", owner, offset, offset + limit - 1)
        return [(task := read_task(fields), _read_event(task, last)) for fields, last in found]

    @translate_redis_errors()
    def last_event(self, task: Task) -> Event:
        """See TaskStore."""
        found: Any = self._client.hmget(_key(task.id), ("event_id", "event"))
        return _read_event(task, found)

    @translate_redis_errors()
    def events_since(self, owner: str, event_id: int, *, limit: int) -> list[Event]:
        """See TaskStore."""
        found: Any = self._client.xrange(f"sd:store:events:{owner}", min=f"{event_id + 1}-0", count=limit)
        return [
            Event(int(key.partition(b"-")[0]), fields[b"task"].decode(), owner, json.loads(fields[b"content"]))
            for key, fields in found
        ]

    def check_room(self, owner: str) -> None:
        """See TaskStore."""
        check_tasks(owner, Usage(*self._commands.run("tasks_pending", client_of(owner))), self._limits)

    @translate_redis_errors()
    def count_starts(self, task: Task) -> int:
        """See TaskStore."""
        return int(self._client.hget(_key(task.id), "starts") or 0)

    def delete_ended(self, before: float) -> int:
        """See TaskStore."""
        total = 0
        # Some at a time, because Redis runs nothing else meanwhile.
        while some := self._commands.run("delete_tasks", before):
            total += some
        return total


def read_task(fields: Sequence[bytes | None]) -> Task:
    """Decode a task from its id, owner, parameters, state and time of acceptance, as the commands return them."""
    task_id, owner, parameters, state, created = (field.decode() for field in fields if field is not None)
    return Task(task_id, owner, json.loads(parameters), state, float(created))  # type: ignore[arg-type]


def _read_event(task: Task, fields: Sequence[bytes | None]) -> Event:
    event_id, content = (field for field in fields if field is not None)
    return Event(int(event_id), task.id, task.owner, json.loads(content))


def _key(task_id: str) -> str:
    return f"sd:store:task:{task_id}"
