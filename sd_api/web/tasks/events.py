"""Events in real time: the websocket ``/events`` and the server-sent events of ``/events/stream``.

These connections last for hours, so they run beside Flask, on the event loop, where a listener costs no thread. Each
listener has a bounded queue; one that does not keep up is disconnected, so that it delays no other listener.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.tokens import Identity
from sd_api.errors import InvalidField, NotAuthenticated, ServerError, StoreUnavailable, log_unexpected
from sd_api.owners import client_of
from sd_api.storage.protocols import Event
from sd_api.tasks.event_bus import preview_channel
from sd_api.tasks.events import EventSource
from sd_api.web.guards import Fetch, Guard
from sd_api.web.tasks.answers import event_json, failure

WEBSOCKET_PATH = "/events"
STREAM_PATH = "/events/stream"

# The capacity of a listener's queue in events; progress is dropped from half of it on.
MAX_QUEUED_EVENTS = 1000

# Connections of one client that listen at a time, and of all: each event is written once for each of them, and each
# holds its connection for hours.
MOST_LISTENERS_OF_CLIENT, MOST_LISTENERS = 64, 1024

# Seconds between two heartbeats on a stream, so that proxies do not close it.
HEARTBEAT_INTERVAL = 15.0

# Seconds for a disconnected listener to receive the reason.
CLOSE_TIMEOUT = 1.0

# Close codes of websockets (RFC 6455).
POLICY_VIOLATION, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER = 1008, 1011, 1012, 1013

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class EventStreams:
    """The ASGI application that serves events.

    Args:
        accounts: identifies the owner of a token.
        events: the source of events.
        guard: checks the Host and the Origin.
        original: whether a message of the websocket is JSON text in a JSON string.
    """

    def __init__(self, accounts: Accounts, events: EventSource, guard: Guard, *, original: bool) -> None:
        self._accounts = accounts
        self._events = events
        self._guard = guard
        self._original = original
        self._listeners: set[Listener] = set()
        self._stopping = False

    def takes(self, scope: dict[str, Any]) -> bool:
        """Whether a connection is for this application."""
        return scope["type"] == "websocket" or scope["path"] in (WEBSOCKET_PATH, STREAM_PATH)

    def stop(self) -> None:
        """Disconnect all listeners; to be called on the event loop."""
        self._stopping = True
        for listener in self._listeners:
            listener.dismiss(SERVICE_RESTART, "The server is shutting down.")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection; see ASGI 3."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            await self._serve_stream(scope, receive, send)

    async def _serve_websocket(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._guard.check(*_host_and_origin(scope))
            if scope["path"] != WEBSOCKET_PATH:
                raise InvalidField("path", f"is {scope['path'][:100]!r}; websockets are at {WEBSOCKET_PATH}")
        except ServerError:
            # A websocket that is closed before it is accepted is a 403 for its client.
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        try:
            listener = self._listener(scope)
        except ServerError as error:
            await send(_close_message(POLICY_VIOLATION, error.message))
            return

        async def send_event(event: Event) -> None:
            text = _text(event)
            await send({"type": "websocket.send", "text": json.dumps(text) if self._original else text})

        async with self._listening(listener):
            await listener.serve(send_event, receive, "websocket.disconnect")
            if listener.dismissed is not None:
                # A listener that does not read does not read this either.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(send(_close_message(*listener.dismissed)), CLOSE_TIMEOUT)

    async def _serve_stream(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            host, origin = _host_and_origin(scope)
            fetch = Fetch(scope["method"], _header(scope, b"sec-fetch-site"), _header(scope, b"sec-fetch-dest"))
            self._guard.check(host, origin, fetch)
            if scope["path"] != STREAM_PATH:
                raise _UpgradeNeeded(f"This is a websocket; {STREAM_PATH} has the same events over HTTP.")
            if scope["method"] != "GET":
                raise _OnlyGet(f"{STREAM_PATH} does not take {scope['method']}, but GET.")
            listener = self._listener(scope)
        except ServerError as error:
            await _refuse(error, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        if origin is not None:
            # The origin is allowed; a browser needs this header to let the page read the answer.
            headers += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

        async def write(text: str, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        async def send_event(event: Event) -> None:
            await write(("" if event.id is None else f"id: {event.id}\n") + f"data: {_text(event)}\n\n")

        async with self._listening(listener):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # Sent at once, so that the client sees that it is connected.
            await write(": welcome\n\n")
            await listener.serve(send_event, receive, "http.disconnect", heartbeat=lambda: write(":\n\n"))
            if listener.dismissed is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(write("", more=False), CLOSE_TIMEOUT)

    def _listener(self, scope: dict[str, Any]) -> "Listener":
        """Make the listener that a connection asks for.

        Raises:
            NotAuthenticated: there is no valid token.
            InvalidField: ``since`` is not an event's id.
            TooManyListeners: the client, or all together, have as many as there may be.
        """
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        identity = self._accounts.identify(query.get("token") or _bearer(scope))
        since = query.get("since") or _header(scope, b"last-event-id")
        if since is not None and not (since.isascii() and since.isdigit() and len(since) < 19):
            raise InvalidField("since", f"is {since[:20]!r}; it must be the event_id of an event")
        progress, previews = (query.get(name, "").lower() in ("1", "true") for name in ("progress", "preview"))
        known = None if since is None else int(since)
        self._refuse_too_many(client_of(identity.owner))
        return Listener(self._events, identity, known, progress=progress, previews=previews)

    def _refuse_too_many(self, client: str) -> None:
        if len(self._listeners) >= MOST_LISTENERS:
            raise TooManyListeners(f"{MOST_LISTENERS} connections listen to events already. Try again later.")
        if sum(listener.client == client for listener in self._listeners) >= MOST_LISTENERS_OF_CLIENT:
            raise TooManyListeners(
                f"{MOST_LISTENERS_OF_CLIENT} connections of yours listen to events already; close some of them."
            )

    @contextlib.asynccontextmanager
    async def _listening(self, listener: "Listener") -> AsyncIterator[None]:
        self._listeners.add(listener)
        if self._stopping:
            listener.dismiss(SERVICE_RESTART, "The server is shutting down.")
        try:
            yield
        finally:
            self._listeners.discard(listener)


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


class TooManyListeners(ServerError):
    """As many connections listen as there may be."""

    status = 429


class _UpgradeNeeded(ServerError):
    status = 426


class _OnlyGet(ServerError):
    status = 405


async def _wait_for(receive: Receive, kind: str) -> None:
    while (await receive())["type"] != kind:
        pass


async def _refuse(error: ServerError, send: Send) -> None:
    body, status = failure(error, error.status)
    headers = [(b"content-type", b"application/json")]
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, _OnlyGet):
        headers.append((b"allow", b"GET"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def _close_message(code: int, reason: str) -> dict[str, Any]:
    # A control frame has room for 123 bytes.
    return {"type": "websocket.close", "code": code, "reason": reason.encode()[:123].decode("utf-8", "ignore")}


def _text(event: Event) -> str:
    return json.dumps(event_json(event))


def _header(scope: dict[str, Any], name: bytes) -> str | None:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return ",".join(values) if values else None


def _host_and_origin(scope: dict[str, Any]) -> tuple[str, str | None]:
    return _header(scope, b"host") or "", _header(scope, b"origin")


def _bearer(scope: dict[str, Any]) -> str:
    kind, _, token = (_header(scope, b"authorization") or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
