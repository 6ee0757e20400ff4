"""The journal: stores each change of a task and publishes its event, in one order."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sd_api.storage.protocols import Blob, Task, TaskState, TaskStore
from sd_api.tasks.event_bus import EventBus


class Journal:
    """Stores first and publishes then, so that no client hears of an event that a power failure could undo.

    Args:
        store: where tasks and events are stored.
        event_bus: where events are published.
    """

    def __init__(self, store: TaskStore, event_bus: EventBus) -> None:
        self._store = store
        self._event_bus = event_bus
        # Held while an event is stored and published, so that events are published in the order of their ids.
        self._lock = threading.Lock()

    def accept(self, task: Task) -> None:
        """Store a new task."""
        with self._lock:
            self._event_bus.publish(self._store.add(task, {"event_type": "pending"}))

    def record(
        self, task: Task, state: TaskState, details: Mapping[str, Any] | None = None, images: Sequence[Blob] = ()
    ) -> bool:
        """Store a new state of a task.

        Args:
            task: the task.
            state: its new state.
            details: further content of the event.
            images: the pictures that the task has made.

        Returns:
            Whether the state was stored; False if the task had ended before.
        """
        with self._lock:
            event = self._store.record(task, state, {"event_type": state, **(details or {})}, images)
            if event is not None:
                self._event_bus.publish(event)
        return event is not None
