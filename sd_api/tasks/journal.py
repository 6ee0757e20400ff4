"""Keeps what happens to tasks and tells of it, in one order."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sd_api.storage.protocols import Blob, Task, TaskState, TaskStore
from sd_api.tasks.announcements import Announcements


class Journal:
    """Writes first, tells then: nobody hears of what a power failure could undo.

    Args:
        store: where events are kept.
        announcements: where they are told.
    """

    def __init__(self, store: TaskStore, announcements: Announcements) -> None:
        self._store = store
        self._announcements = announcements
        # Held from writing to telling, so that events are told in the order of their ids.
        self._lock = threading.Lock()

    def accept(self, task: Task) -> None:
        """Keep a new task."""
        with self._lock:
            self._announcements.announce(self._store.add(task, {"event_type": "pending"}))

    def record(
        self, task: Task, state: TaskState, details: Mapping[str, Any] | None = None, images: Sequence[Blob] = ()
    ) -> bool:
        """Keep what has become of a task; whether that was possible, because it had not ended before.

        Args:
            task: which one.
            state: its new one.
            details: of the event.
            images: that came of it.
        """
        with self._lock:
            event = self._store.record(task, state, {"event_type": state, **(details or {})}, images)
            if event is not None:
                self._announcements.announce(event)
        return event is not None
