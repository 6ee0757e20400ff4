"""The events of one owner's tasks: the stored ones that a client missed, and the new ones."""

from collections.abc import Callable, Iterator

from sd_api.storage.protocols import Event, TaskStore
from sd_api.tasks.event_bus import EventBus, EventListener, preview_channel

# The number of missed events that are read at a time.
PAGE = 200


class EventSource:
    """Gives listeners both new events and those that they missed.

    Args:
        store: where events are stored.
        event_bus: where events are published.
    """

    def __init__(self, store: TaskStore, event_bus: EventBus) -> None:
        self._store = store
        self._event_bus = event_bus

    def subscribe(self, owner: str, listener: EventListener, *, previews: bool = False) -> Callable[[], None]:
        """Have a listener called with the new events of an owner's tasks.

        Args:
            owner: the tasks' owner.
            listener: called with each event.
            previews: whether progress shall come with previews. The listener then also gets the events of
                ``preview_channel(owner)``, and previews are made until the subscription ends.

        Returns:
            A function that ends the subscription.
        """
        unsubscribe = self._event_bus.subscribe(owner, listener)
        if not previews:
            return unsubscribe
        unsubscribe_previews = self._event_bus.subscribe(preview_channel(owner), listener)

        def unsubscribe_both() -> None:
            unsubscribe()
            unsubscribe_previews()

        return unsubscribe_both

    def missed(self, owner: str, since: int) -> Iterator[list[Event]]:
        """The stored events with a larger id than ``since``, in order, one page at a time."""
        return events_after(self._store, owner, since)


def events_after(store: TaskStore, owner: str, since: int) -> Iterator[list[Event]]:
    """The stored events of an owner's tasks with a larger id than ``since``, in order, one page at a time."""
    while page := store.events_since(owner, since, limit=PAGE):
        yield page
        since = page[-1].id or since
