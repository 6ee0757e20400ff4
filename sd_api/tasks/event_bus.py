"""The event bus: publishes the events of tasks to those who subscribed to them."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from sd_api.storage.protocols import Event

log = logging.getLogger(__name__)

EventListener = Callable[[Event], None]
"""Called with each event, in order, from whichever thread has it; it must not block."""


def preview_channel(owner: str) -> str:
    """The channel of an owner's progress events with previews, which are made only while the channel has listeners."""
    return f"{owner} previews"


class EventBus(Protocol):
    """Publish and subscribe, with one channel for each owner, in this process or across machines; thread-safe."""

    def subscribe(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """Have a listener called with the events of an owner's tasks.

        Returns:
            A function that ends the subscription.
        """

    def has_listeners(self, owner: str) -> bool:
        """Whether an owner's channel has listeners."""

    def publish(self, event: Event) -> None:
        """Send an event to the listeners of its owner."""


class LocalEventBus:
    """An EventBus within one process."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[EventListener]] = defaultdict(list)
        self._lock = threading.Lock()

    def subscribe(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """See EventBus."""
        with self._lock:
            self._listeners[owner].append(listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners[owner].remove(listener)
                if not self._listeners[owner]:
                    del self._listeners[owner]

        return unsubscribe

    def has_listeners(self, owner: str) -> bool:
        """See EventBus."""
        return owner in self._listeners

    def owners(self) -> set[str]:
        """The owners whose channels have listeners."""
        with self._lock:
            return set(self._listeners)

    def publish(self, event: Event) -> None:
        """See EventBus."""
        with self._lock:
            listeners = list(self._listeners.get(event.owner, ()))
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                # A listener that fails must not keep events from the others.
                log.exception("A listener of events failed")
