"""Whose task is carried to the queue next, and by which process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sd_api.jobs.fair_queue import FairQueue
from sd_api.storage.protocols import Task


class TaskTurns(Protocol):
    """Gives the tasks that wait to who carries them, owners in turn, each owner's in order."""

    def start(self, take_up: Callable[[Sequence[Task]], None]) -> None:
        """Begin to carry.

        Args:
            take_up: is called, from any thread, with the tasks that were left by a process that has ended; and with
                none of them where others may have changed what ``next`` tells.
        """

    def stop(self) -> None:
        """Carry no more; what has not ended is left to others, or to the next start."""

    def add(self, task: Task) -> None:
        """Have a task wait that has just been kept as pending."""

    def next(self, in_queue: int) -> Task | None:
        """The task whose turn it is, the same one until ``take``; None where none waits, or enough are on their way.

        Args:
            in_queue: how many tasks this process has in the queue.
        """

    def take(self) -> None:
        """Take the task that ``next`` told, so that it is another one's turn."""


@dataclass(frozen=True)
class _Pending:
    task: Task

    @property
    def client(self) -> str:
        return self.task.owner


class LocalTurns:
    """See TaskTurns; for one process, and one thread.

    Args:
        alive: tells the tasks that have not ended, in the order in which they came.
        ahead: how many tasks may be in the queue; the others wait here and leave room for other clients.
    """

    def __init__(self, alive: Callable[[], Sequence[Task]], ahead: int) -> None:
        self._alive = alive
        self._ahead = ahead
        self._line: FairQueue[_Pending] = FairQueue()

    def start(self, take_up: Callable[[Sequence[Task]], None]) -> None:
        """See TaskTurns."""
        take_up(self._alive())

    def stop(self) -> None:
        """See TaskTurns."""

    def add(self, task: Task) -> None:
        """See TaskTurns."""
        self._line.add(_Pending(task))

    def next(self, in_queue: int) -> Task | None:
        """See TaskTurns."""
        return next(iter(self._line)).task if len(self._line) and in_queue < self._ahead else None

    def take(self) -> None:
        """See TaskTurns."""
        self._line.take()
