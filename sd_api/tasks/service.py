"""What can be done with tasks, for whoever they belong to."""

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sd_api.errors import TooManyTasks, UnknownJob
from sd_api.jobs.queue import JobQueue
from sd_api.settings import Limits
from sd_api.storage.protocols import BlobStore, Event, Task, TaskStore
from sd_api.tasks.journal import Journal
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.runner import TaskRunner


class TaskService:
    """Accepts tasks, tells about them and cancels them.

    Args:
        jobs: the queue that runs them.
        store: where they are kept.
        blobs: where their images are.
        journal: where to tell what happens.
        requests: makes requests of them.
        runner: carries them through the queue.
        limits: how many may wait.
    """

    def __init__(
        self,
        jobs: JobQueue,
        store: TaskStore,
        blobs: BlobStore,
        journal: Journal,
        requests: RequestMaker,
        runner: TaskRunner,
        limits: Limits,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._blobs = blobs
        self._journal = journal
        self._requests = requests
        self._runner = runner
        self._limits = limits
        # Held from counting to adding, so that many at once do not pass the limit together.
        self._accepting = threading.Lock()

    def create(self, owner: str, fields: Mapping[str, Any]) -> str:
        """Accept a task; once its id is returned, nothing but its owner or its own fault keeps it from being done.

        Args:
            owner: whose it is.
            fields: its parameters, as they came.

        Raises:
            pydantic.ValidationError: naming every parameter that is not what it should be.
            InvalidFields: parameters do not fit each other.
            QuotaExceeded: there is no room for its pictures.
            TooManyTasks: as many wait as the configuration allows.
        """
        parameters = self._requests.complete(owner, fields)
        self._blobs.refuse_full(owner)
        task = Task(uuid4().hex, owner, parameters, "pending", time.time())
        with self._accepting:
            if self._store.count_pending(owner) >= self._limits.max_pending_tasks_per_user:
                raise TooManyTasks(
                    f"{self._limits.max_pending_tasks_per_user} of your tasks are waiting, as many as "
                    "limits.max_pending_tasks_per_user allows. Wait until one is done, or cancel one."
                )
            self._journal.accept(task)
        self._runner.add(task)
        return task.id

    def last_event(self, owner: str, task_id: str) -> Event:
        """What was last recorded of a task.

        Raises:
            UnknownTask: there is none of this owner.
        """
        return self._store.last_event(self._store.task(owner, task_id))

    def list(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """An owner's tasks with their last events, the newest first."""
        return self._store.tasks(owner, limit=limit, offset=offset)

    def cancel(self, owner: str, task_id: str) -> None:
        """End a task; one that has ended stays as it was.

        Raises:
            UnknownTask: there is none of this owner.
        """
        task = self._store.task(owner, task_id)
        reason = "This task was cancelled."
        if self._journal.record(task, "cancelled", {"reason": reason}):
            # One that still waits in the store is passed over when its turn comes.
            with contextlib.suppress(UnknownJob):
                self._jobs.cancel(task.id, reason)
