"""The task queue: which pending task goes to the job queue next, and which process dispatches it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sd_api.jobs.fair_queue import FairQueue
from sd_api.owners import client_of
from sd_api.storage.protocols import Task


class TaskQueue(Protocol):
    """A fair queue of pending tasks: owners are served round-robin, each owner's tasks in order."""

    def start(self, recover: Callable[[Sequence[Task]], None]) -> None:
        """Begin to claim tasks.

        Args:
            recover: called from any thread with the tasks that a process has left unfinished when it ended; and
                with no tasks when ``next`` may have changed because of other processes.
        """

    def stop(self) -> None:
        """Claim no more tasks; unfinished tasks are left to other processes, or to the next start."""

    def add(self, task: Task) -> None:
        """Queue a task that has just been stored as pending."""

    def next(self, dispatched: int) -> Task | None:
        """The next task, the same one until ``take``; None if none is pending or enough are in the job queue.

        Args:
            dispatched: the number of tasks that this process has in the job queue.
        """

    def take(self) -> None:
        """Remove the task that ``next`` has returned; the next one is then another owner's if there is one."""


@dataclass(frozen=True)
class _PendingTask:
    task: Task

    @property
    def client(self) -> str:
        """Fair-queue key: the client of the task's owner."""
        return client_of(self.task.owner)

    @property
    def program(self) -> str:
        """The tasks of a client stay in the order in which they came."""
        return ""


class LocalTaskQueue:
    """A TaskQueue of one process; not thread-safe.

    Args:
        unfinished: returns the tasks that have not ended, in the order in which they were accepted.
        max_dispatched: how many tasks may be in the job queue; the others wait here and leave room for other clients.
    """

    def __init__(self, unfinished: Callable[[], Sequence[Task]], max_dispatched: int) -> None:
        self._unfinished = unfinished
        self._max_dispatched = max_dispatched
        self._pending: FairQueue[_PendingTask] = FairQueue()

    def start(self, recover: Callable[[Sequence[Task]], None]) -> None:
        """See TaskQueue."""
        recover(self._unfinished())

    def stop(self) -> None:
        """See TaskQueue."""

    def add(self, task: Task) -> None:
        """See TaskQueue."""
        self._pending.add(_PendingTask(task))

    def next(self, dispatched: int) -> Task | None:
        """See TaskQueue."""
        return next(iter(self._pending)).task if len(self._pending) and dispatched < self._max_dispatched else None

    def take(self) -> None:
        """See TaskQueue."""
        self._pending.take()
