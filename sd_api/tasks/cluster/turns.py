"""Turns across processes: each carries the tasks that it claimed, for as long as it renews its lease."""

import logging
import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

import redis

from sd_api.errors import StoreUnavailable
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.cluster.tasks import read_task
from sd_api.storage.protocols import Task

log = logging.getLogger(__name__)

# Seconds after which a process that has not renewed its lease counts as gone, and from one renewal to the next.
LEASE = 7.0
RENEWAL = 2.0

# Seconds that the end of this may take.
PATIENCE = 1.0


class RedisTurns:
    """See TaskTurns. What is kept as pending waits already, so there is nothing to add.

    Args:
        client: where the tasks are kept.
        ahead: how many tasks may be claimed that have not begun, by all processes together.
    """

    def __init__(self, client: redis.Redis, ahead: int) -> None:
        self._commands = Commands(client)
        self._ahead = ahead
        self._carrier = uuid4().hex
        self._next: Task | None = None
        self._taken = ""
        self._stopping = threading.Event()

    def start(self, take_up: Callable[[Sequence[Task]], None]) -> None:
        """See TaskTurns."""
        self._thread = threading.Thread(target=self._renew, args=(take_up,), name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See TaskTurns."""
        self._stopping.set()
        self._thread.join(PATIENCE)
        try:
            self._commands.run("leave", self._carrier)
        except StoreUnavailable:
            log.info("The lease of this process's tasks ends by itself")

    def add(self, task: Task) -> None:
        """See TaskTurns."""

    def next(self, in_queue: int) -> Task | None:  # noqa: ARG002
        """See TaskTurns."""
        if self._next is None:
            found = self._commands.run("claim", self._carrier, LEASE, self._ahead, self._taken)
            self._next = None if found is None else read_task(found)
        return self._next

    def take(self) -> None:
        """See TaskTurns."""
        if self._next is not None:
            self._taken, self._next = self._next.id, None

    def _renew(self, take_up: Callable[[Sequence[Task]], None]) -> None:
        known: list[str] = []
        while not self._stopping.is_set():
            try:
                left = [read_task(fields) for fields in self._commands.run("renew", self._carrier, LEASE, *known)]
            except StoreUnavailable:
                left = []
            except Exception:
                # Without its lease, others would make all that this process makes.
                log.exception("The lease of this process's tasks could not be renewed")
                left = []
            else:
                known = [task.id for task in left]
            for task in left:
                log.info("Task %s is taken over from a process that has gone", task.id)
            take_up(left)
            self._stopping.wait(RENEWAL)
