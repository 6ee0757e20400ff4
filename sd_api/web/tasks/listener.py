"""One connection that receives events, whatever its protocol.

A listener has a bounded queue; one that does not keep up is disconnected, so that it delays no other.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sd_api.accounts.tokens import Identity
from sd_api.errors import StoreUnavailable, log_unexpected
from sd_api.owners import client_of
from sd_api.storage.protocols import Event
from sd_api.tasks.event_bus import preview_channel
from sd_api.tasks.events import EventSource

# The capacity of a listener's queue in events; progress is dropped from half of it on.
MAX_QUEUED_EVENTS = 1000

# Seconds between two heartbeats on a stream, so that proxies do not close it.
HEARTBEAT_INTERVAL = 15.0

# Close codes of websockets (RFC 6455).
POLICY_VIOLATION, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER = 1008, 1011, 1012, 1013

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Listener:
    """One connection that receives events. Made and used on the event loop.

    Args:
        events: the source of events.
        identity: the owner of the events, and when its token expires.
        since: the id of the last event that the client knows; None for new events only.
        progress: whether to send progress.
        previews: whether to send progress with previews.

    Attributes:
        client: as whom its listener is counted.
        dismissed: why the listener was disconnected, as a websocket's code and reason; None before that.
    """

    def __init__(
        self, events: EventSource, identity: Identity, since: int | None, *, progress: bool, previews: bool = False
    ) -> None:
        self.client = client_of(identity.owner)
        self.dismissed: tuple[int, str] | None = None
        self._events = events
        self._identity = identity
        self._since = since
        # The channel whose progress is sent; None for no progress.
        self._progress_channel = preview_channel(identity.owner) if previews else identity.owner if progress else None
        self._previews = previews
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MAX_QUEUED_EVENTS)
        self._sending: asyncio.Task[None] | None = None

    async def serve(
        self,
        send_event: Callable[[Event], Awaitable[None]],
        receive: Receive,
        disconnect: str,
        heartbeat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Send events until the client disconnects, the token expires, or the listener is dismissed.

        Args:
            send_event: sends one event.
            receive: receives the connection's next ASGI message.
            disconnect: the type of the message for a disconnected client.
            heartbeat: sends a heartbeat; None if the protocol has its own.
        """
        unsubscribe = self._events.subscribe(self._identity.owner, self._on_event, previews=self._previews)
        self._sending = asyncio.create_task(self._send_events(send_event, heartbeat))
        disconnected = asyncio.create_task(_wait_for(receive, disconnect))
        both: set[asyncio.Task[None]] = {self._sending, disconnected}
        try:
            if self.dismissed is None:
                left = max(0.0, self._identity.expires - time.time())
                done, _ = await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self.dismiss(POLICY_VIOLATION, "This token has expired; get a new one at POST /token.")
        finally:
            unsubscribe()
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def dismiss(self, code: int, reason: str) -> None:
        """Disconnect the listener."""
        self.dismissed = self.dismissed or (code, reason)
        if self._sending is not None:
            self._sending.cancel()

    async def _send_events(
        self, send_event: Callable[[Event], Awaitable[None]], heartbeat: Callable[[], Awaitable[None]] | None
    ) -> None:
        known = 0
        if self._since is not None:
            # New events wait in the queue; those that were read from the store, too, are skipped there.
            missed = self._events.missed(self._identity.owner, self._since)
            while page := await self._next_page(missed):
                for event in page:
                    await send_event(event)
                    known = event.id or known
        while True:
            try:
                event = await asyncio.wait_for(self._waiting.get(), HEARTBEAT_INTERVAL if heartbeat else None)
            except TimeoutError:
                assert heartbeat is not None  # noqa: S101 - nothing else sets a time
                await heartbeat()
                continue
            if event.id is None or event.id > known:
                await send_event(event)

    async def _next_page(self, missed: Iterator[list[Event]]) -> list[Event] | None:
        """The next missed events; None after the last. If they cannot be read, the listener is disconnected."""
        try:
            return await asyncio.to_thread(next, missed, None)
        except StoreUnavailable as error:
            log.warning("A listener was disconnected, because its missed events cannot be read: %s", error.message)
            self.dismiss(INTERNAL_ERROR, "Your missed events cannot be read now; come back with the same since.")
        except Exception as error:
            self.dismiss(INTERNAL_ERROR, log_unexpected(log, error, "reading the missed events of a listener"))
        return None

    def _on_event(self, event: Event) -> None:
        """Queue an event; called on any thread."""
        if event.id is not None or event.owner == self._progress_channel:
            self._loop.call_soon_threadsafe(self._enqueue, event)

    def _enqueue(self, event: Event) -> None:
        if event.id is None and self._waiting.qsize() >= MAX_QUEUED_EVENTS // 2:
            return
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self.dismiss(TRY_AGAIN_LATER, "You do not keep up; come back with since=<the last event_id>.")


async def _wait_for(receive: Receive, kind: str) -> None:
    while (await receive())["type"] != kind:
        pass
