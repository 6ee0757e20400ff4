"""The operations on tasks that a dialect offers to their owners."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sd_api.errors import UnknownJob
from sd_api.jobs.estimates import Estimate, estimate
from sd_api.jobs.queue import JobQueue
from sd_api.owners import qualified
from sd_api.storage.protocols import BlobStore, Event, Task, TaskStore
from sd_api.tasks.dispatcher import TaskDispatcher
from sd_api.tasks.journal import Journal
from sd_api.tasks.requests import RequestMaker


class TaskService:
    """Accepts, lists and cancels tasks.

    Args:
        jobs: the job queue that runs them.
        store: where they are stored.
        blobs: where their images are stored.
        journal: stores and publishes their changes.
        requests: makes jobs' requests from tasks' parameters.
        dispatcher: sends them to the job queue.
    """

    def __init__(
        self,
        jobs: JobQueue,
        store: TaskStore,
        blobs: BlobStore,
        journal: Journal,
        requests: RequestMaker,
        dispatcher: TaskDispatcher,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._blobs = blobs
        self._journal = journal
        self._requests = requests
        self._dispatcher = dispatcher

    def create(self, owner: str, fields: Mapping[str, Any], *, from_here: bool = True) -> str:
        """Accept a task. Once its id is returned, the task is done unless its owner cancels it or its parameters fail.

        Args:
            owner: the owner of the task.
            fields: the parameters as the client sent them.
            from_here: whether the client is on this computer.

        Raises:
            pydantic.ValidationError: naming every parameter that is not valid.
            InvalidFields: parameters do not fit each other.
            QuotaExceeded: the owner's quota leaves no room for its pictures.
            TooManyTasks: as many tasks of the owner's client are pending as the configuration allows.
            Overloaded: a limit for all public tokens, or for all owners, is reached.
        """
        self._store.check_room(owner)
        self._blobs.check_quota(owner)
        parameters = self._requests.complete(owner, fields, from_here=from_here)
        task = Task(uuid4().hex, owner, parameters, "pending", time.time())
        # Counts once more, together with others that arrive at the same time, maybe at other processes.
        self._journal.accept(task)
        self._dispatcher.add(task)
        return task.id

    def estimate(self, owner: str, fields: Mapping[str, Any], *, from_here: bool = True) -> Estimate:
        """What a task would take if it was accepted now; see ``create``.

        Raises:
            pydantic.ValidationError: naming every parameter that is not valid.
            InvalidFields: parameters do not fit each other.
            OutOfLimits: the model cannot do what they ask for.
        """
        spec, warnings, model = self._requests.read(owner, fields, from_here=from_here)
        found = estimate(self._jobs, spec, model, self._requests.folders)
        return replace(found, warnings=(*warnings, *found.warnings))

    def last_event(self, owner: str, task_id: str) -> Event:
        """The last stored event of a task.

        Raises:
            UnknownTask: this owner has no such task.
        """
        return self._store.last_event(self._store.task(owner, task_id))

    def list(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """An owner's tasks with their last events, the newest first."""
        return self._store.tasks(owner, limit=limit, offset=offset)

    def cancel(self, owner: str, task_id: str) -> None:
        """Cancel a task; a task that has ended does not change.

        Raises:
            UnknownTask: this owner has no such task.
        """
        task = self._store.task(owner, task_id)
        reason = "This task was cancelled."
        if self._journal.record(task, "cancelled", {"reason": reason}):
            # A task that is still pending has no job; the dispatcher skips it.
            with contextlib.suppress(UnknownJob):
                self._jobs.cancel(qualified(owner, task.id), reason)
