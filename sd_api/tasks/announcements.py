"""Tells of events while they happen, to whoever listens in this process."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from sd_api.storage.protocols import Event

log = logging.getLogger(__name__)

EventListener = Callable[[Event], None]
"""Is called with each event, in order, from whichever thread has it; it must not wait for anything."""


def previews_of(owner: str) -> str:
    """Whom to listen to for an owner's progress with previews, which are made only while somebody does."""
    return f"{owner} previews"


class Announcements(Protocol):
    """Carries events from where they happen to where somebody listens, in this process or across machines."""

    def listen(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """Have a listener told of the events of an owner's tasks, until the function that is returned is called."""

    def anybody(self, owner: str) -> bool:
        """Whether somebody listens to an owner's events."""

    def announce(self, event: Event) -> None:
        """Tell of an event."""


class LocalAnnouncements:
    """See Announcements; for one process."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[EventListener]] = defaultdict(list)
        self._lock = threading.Lock()

    def listen(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """See Announcements."""
        with self._lock:
            self._listeners[owner].append(listener)

        def leave() -> None:
            with self._lock:
                self._listeners[owner].remove(listener)
                if not self._listeners[owner]:
                    del self._listeners[owner]

        return leave

    def anybody(self, owner: str) -> bool:
        """See Announcements."""
        return owner in self._listeners

    def owners(self) -> set[str]:
        """Whose events somebody listens to."""
        with self._lock:
            return set(self._listeners)

    def announce(self, event: Event) -> None:
        """See Announcements."""
        with self._lock:
            listeners = list(self._listeners.get(event.owner, ()))
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                # Who listens cannot be the reason that others do not hear.
                log.exception("A listener of events failed")
