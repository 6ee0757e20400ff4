"""The task queue of a cluster: each process dispatches the tasks that it claimed, while it renews its lease."""

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

# Seconds after which a process that has not renewed its lease counts as dead, and seconds between two renewals.
LEASE = 7.0
RENEWAL_INTERVAL = 2.0

# Seconds to wait for the thread when the process stops.
STOP_TIMEOUT = 1.0


class RedisTaskQueue:
    """A TaskQueue over the tasks in Redis. A task that is stored as pending is queued already.

    Args:
        client: the connection to the Redis that stores the tasks.
        max_dispatched: how many claimed tasks may not have started yet, of all processes together.
    """

    def __init__(self, client: redis.Redis, max_dispatched: int) -> None:
        self._commands = Commands(client)
        self._max_dispatched = max_dispatched
        self._process = uuid4().hex
        self._next: Task | None = None
        self._taken_id = ""
        self._stopping = threading.Event()

    def start(self, recover: Callable[[Sequence[Task]], None]) -> None:
        """See TaskQueue."""
        self._thread = threading.Thread(target=self._renew_lease, args=(recover,), name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See TaskQueue."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT)
        try:
            self._commands.run("leave", self._process)
        except StoreUnavailable:
            log.info("The lease of this process's tasks was not given up; it expires")

    def add(self, task: Task) -> None:
        """See TaskQueue."""

    def next(self, dispatched: int) -> Task | None:  # noqa: ARG002
        """See TaskQueue."""
        if self._next is None:
            found = self._commands.run("claim", self._process, LEASE, self._max_dispatched, self._taken_id)
            self._next = None if found is None else read_task(found)
        return self._next

    def take(self) -> None:
        """See TaskQueue."""
        if self._next is not None:
            self._taken_id, self._next = self._next.id, None

    def _renew_lease(self, recover: Callable[[Sequence[Task]], None]) -> None:
        acknowledged: list[str] = []
        while not self._stopping.is_set():
            try:
                found = self._commands.run("renew", self._process, LEASE, *acknowledged)
                orphaned = [read_task(fields) for fields in found]
            except StoreUnavailable:
                orphaned = []
            except Exception:
                # Without its lease, this process would do work that other processes do, too.
                log.exception("The lease of this process's tasks could not be renewed")
                orphaned = []
            else:
                acknowledged = [task.id for task in orphaned]
            for task in orphaned:
                log.info("Task %s is taken over from a process that has died or stopped", task.id)
            recover(orphaned)
            self._stopping.wait(RENEWAL_INTERVAL)
