"""The task store over the database."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, case, delete, func, insert, select, update

from sd_api.errors import UnknownTask
from sd_api.owners import USER, client_of
from sd_api.settings import Limits
from sd_api.storage.blobs import insert_blob
from sd_api.storage.database import Database
from sd_api.storage.protocols import UNFINISHED, Blob, Event, Task, TaskState
from sd_api.storage.room import Usage, check_tasks
from sd_api.storage.tables import events, tasks

_TASK = (tasks.c.id, tasks.c.owner, tasks.c.parameters, tasks.c.state, tasks.c.created)
_LAST_EVENT = select(func.max(events.c.id)).where(events.c.task_id == tasks.c.id).correlate(tasks).scalar_subquery()


class SqlTasks:
    """A TaskStore over SQL."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    def add(self, task: Task, content: Mapping[str, Any]) -> Event:
        """See TaskStore."""
        with self._database.writing() as connection:
            # In the same transaction, so that concurrent requests cannot exceed a limit together.
            self._check_room(connection, task.owner)
            connection.execute(
                insert(tasks).values(
                    id=task.id,
                    owner=task.owner,
                    parameters=dict(task.parameters),
                    state=task.state,
                    created=task.created,
                    client=client_of(task.owner),
                )
            )
            return _insert_event(connection, task, content)

    def record(
        self, task: Task, state: TaskState, content: Mapping[str, Any], images: Sequence[Blob] = ()
    ) -> Event | None:
        """See TaskStore."""
        ended = None if state in UNFINISHED else time.time()

        def change(connection: Connection) -> Event | None:
            changed = connection.execute(
                update(tasks)
                .where(tasks.c.id == task.id, tasks.c.state.in_(UNFINISHED))
                .values(state=state, ended=ended)
            )
            if not changed.rowcount:
                return None
            for image in images:
                insert_blob(connection, image)
            return _insert_event(connection, task, content)

        if state == "cancelled":
            return self._database.deleting(change)
        with self._database.writing() as connection:
            return change(connection)

    def task(self, owner: str, task_id: str) -> Task:
        """See TaskStore."""
        with self._database.reading() as connection:
            row = connection.execute(select(*_TASK).where(tasks.c.id == task_id, tasks.c.owner == owner)).mappings()
            found = row.first()
        if found is None:
            raise UnknownTask(f"There is no task {task_id[:100]!r} of yours.")
        return Task(**found)

    def tasks(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """See TaskStore."""
        query = (
            select(*_TASK, events.c.id.label("event_id"), events.c.content)
            .join(events, events.c.id == _LAST_EVENT)
            .where(tasks.c.owner == owner)
            .order_by(tasks.c.number.desc())
            .limit(limit)
            .offset(offset)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        found = [Task(**{column.name: row[column.name] for column in _TASK}) for row in rows]
        return [
            (task, Event(row["event_id"], task.id, task.owner, row["content"]))
            for task, row in zip(found, rows, strict=True)
        ]

    def last_event(self, task: Task) -> Event:
        """See TaskStore."""
        query = select(events).where(events.c.task_id == task.id).order_by(events.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            return _event(connection.execute(query).mappings().one())

    def events_since(self, owner: str, event_id: int, *, limit: int) -> list[Event]:
        """See TaskStore."""
        query = select(events).where(events.c.owner == owner, events.c.id > event_id).order_by(events.c.id)
        with self._database.reading() as connection:
            return [_event(row) for row in connection.execute(query.limit(limit)).mappings()]

    def unfinished(self) -> list[Task]:
        """All tasks that have not ended, in the order in which they were accepted."""
        query = select(*_TASK).where(tasks.c.state.in_(UNFINISHED)).order_by(tasks.c.number)
        with self._database.reading() as connection:
            return [Task(**row) for row in connection.execute(query).mappings()]

    def check_room(self, owner: str) -> None:
        """See TaskStore."""
        with self._database.reading() as connection:
            self._check_room(connection, owner)

    def count_starts(self, task: Task) -> int:
        """See TaskStore."""
        kind = events.c.content["event_type"].as_string()
        query = select(func.count()).where(events.c.task_id == task.id, kind == "started")
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def delete_ended(self, before: float) -> int:
        """See TaskStore."""
        ended = delete(tasks).where(tasks.c.ended < before)
        return self._database.deleting(lambda connection: int(connection.execute(ended).rowcount))

    def _check_room(self, connection: Connection, owner: str) -> None:
        own, public = tasks.c.client == client_of(owner), ~tasks.c.client.startswith(USER)
        counts = (func.count(counted) for counted in (case((own, 1)), case((public, 1)), 1))
        used = connection.execute(select(*counts).where(tasks.c.state == "pending")).one()
        check_tasks(owner, Usage(*map(int, used)), self._limits)


def _insert_event(connection: Connection, task: Task, content: Mapping[str, Any]) -> Event:
    statement = insert(events).values(task_id=task.id, owner=task.owner, content=dict(content)).returning(events.c.id)
    return Event(connection.execute(statement).scalar_one(), task.id, task.owner, content)


def _event(row: RowMapping) -> Event:
    return Event(row["id"], row["task_id"], row["owner"], row["content"])
