"""The events of one owner's tasks: those that were missed, and those that come."""

from collections.abc import Callable, Iterator

from sd_api.storage.protocols import Event, TaskStore
from sd_api.tasks.announcements import Announcements, EventListener, previews_of

# So many missed events are read at a time.
PAGE = 200


class EventSource:
    """What somebody who listens needs.

    Args:
        store: where events are kept.
        announcements: where they are told.
    """

    def __init__(self, store: TaskStore, announcements: Announcements) -> None:
        self._store = store
        self._announcements = announcements

    def listen(self, owner: str, listener: EventListener, *, previews: bool = False) -> Callable[[], None]:
        """See Announcements.

        Args:
            owner: whose events.
            listener: is told of them.
            previews: whether progress shall come with previews; it then comes in the name of ``previews_of(owner)``
                besides, and previews are made until the listener leaves.
        """
        leave = self._announcements.listen(owner, listener)
        if not previews:
            return leave
        leave_previews = self._announcements.listen(previews_of(owner), listener)

        def leave_both() -> None:
            leave()
            leave_previews()

        return leave_both

    def missed(self, owner: str, since: int) -> Iterator[list[Event]]:
        """The events with a larger id than ``since``, in order, some at a time."""
        return events_after(self._store, owner, since)


def events_after(store: TaskStore, owner: str, since: int) -> Iterator[list[Event]]:
    """The kept events of an owner's tasks with a larger id than ``since``, in order, some at a time."""
    while page := store.events_since(owner, since, limit=PAGE):
        yield page
        since = page[-1].id or since
