"""Events while they happen: the websocket ``/events`` and the server-sent events of ``/events/stream``.

These wait for hours, so they run beside Flask, on the event loop, where who only listens costs no
thread. Each listener has a queue of its own; one that does not keep up is sent away, so that it
delays nobody.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.tokens import Identity
from sd_api.errors import InvalidField, NotAuthenticated, ServerError
from sd_api.storage.protocols import Event
from sd_api.tasks.event_bus import preview_channel
from sd_api.tasks.events import EventSource
from sd_api.web.guards import Callers
from sd_api.web.tasks.answers import event_json, failure

WEBSOCKET_PATH = "/events"
STREAM_PATH = "/events/stream"

# So many events may wait for a listener to take them; of progress, half as many.
MOST_WAITING = 1000

# Seconds between signs of life on a stream, so that what stands in between does not close it.
HEARTBEAT = 15.0

# Seconds that a listener who is sent away has to take the reason.
FAREWELL = 1.0

# What a websocket is closed with (RFC 6455).
POLICY_VIOLATION, SERVICE_RESTART, TRY_AGAIN_LATER = 1008, 1012, 1013

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class EventStreams:
    """An ASGI application.

    Args:
        accounts: who a token stands for.
        events: where events come from.
        callers: who may call.
    """

    def __init__(self, accounts: Accounts, events: EventSource, callers: Callers) -> None:
        self._accounts = accounts
        self._events = events
        self._callers = callers
        self._listeners: set[Listener] = set()
        self._stopping = False

    def takes(self, scope: dict[str, Any]) -> bool:
        """Whether a connection is for this application."""
        return scope["type"] == "websocket" or scope["path"] in (WEBSOCKET_PATH, STREAM_PATH)

    def stop(self) -> None:
        """Send all listeners away; to be called on the event loop."""
        self._stopping = True
        for listener in self._listeners:
            listener.dismiss(SERVICE_RESTART, "The server is shutting down.")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI 3 has it."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            await self._serve_stream(scope, receive, send)

    async def _serve_websocket(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._callers.check(*_host_and_origin(scope))
            if scope["path"] != WEBSOCKET_PATH:
                raise InvalidField("path", f"is {scope['path'][:100]!r}; websockets are at {WEBSOCKET_PATH}")
        except ServerError:
            # Before it is accepted: the client sees a 403.
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        try:
            listener = self._listener(scope)
        except ServerError as error:
            await send(_farewell(POLICY_VIOLATION, error.message))
            return

        async def tell(event: Event) -> None:
            await send({"type": "websocket.send", "text": _text(event)})

        async with self._listening(listener):
            await listener.serve(tell, receive, "websocket.disconnect")
            if listener.dismissed is not None:
                # One that takes nothing does not take this either.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(send(_farewell(*listener.dismissed)), FAREWELL)

    async def _serve_stream(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            host, origin = _host_and_origin(scope)
            self._callers.check(host, origin)
            if scope["path"] != STREAM_PATH:
                raise _UpgradeNeeded(f"This is a websocket; {STREAM_PATH} is the same for who speaks HTTP only.")
            if scope["method"] != "GET":
                raise _OnlyGet(f"{STREAM_PATH} does not take {scope['method']}, but GET.")
            listener = self._listener(scope)
        except ServerError as error:
            await _refuse(error, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        if origin is not None:
            # One that may call has been let in; a browser wants to hear that it may read, too.
            headers += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def write(text: str, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        async def tell(event: Event) -> None:
            await write(("" if event.id is None else f"id: {event.id}\n") + f"data: {_text(event)}\n\n")

        async with self._listening(listener):
            # At once, so that the client sees that it is connected.
            await write(": welcome\n\n")
            await listener.serve(tell, receive, "http.disconnect", heartbeat=lambda: write(":\n\n"))
            if listener.dismissed is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(write("", more=False), FAREWELL)

    def _listener(self, scope: dict[str, Any]) -> "Listener":
        """Who listens, and to what.

        Raises:
            NotAuthenticated: there is no valid token.
            InvalidField: ``since`` is no event's id.
        """
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        identity = self._accounts.identify(query.get("token") or _bearer(scope))
        since = query.get("since") or _header(scope, b"last-event-id")
        if since is not None and not (since.isascii() and since.isdigit() and len(since) < 19):
            raise InvalidField("since", f"is {since[:20]!r}; it must be the event_id of an event")
        progress, previews = (query.get(name, "").lower() in ("1", "true") for name in ("progress", "preview"))
        known = None if since is None else int(since)
        return Listener(self._events, identity, known, progress=progress, previews=previews)

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
    """One connection that events are told to. Made and used on the event loop.

    Args:
        events: where they come from.
        identity: whose events, and until when.
        since: the id of the last event that the listener knows; None is for who wants new ones only.
        progress: whether progress is wanted, too.
        previews: whether progress with previews is.

    Attributes:
        dismissed: why it was sent away, as a websocket's code and reason; None while it was not.
    """

    def __init__(
        self, events: EventSource, identity: Identity, since: int | None, *, progress: bool, previews: bool = False
    ) -> None:
        self.dismissed: tuple[int, str] | None = None
        self._events = events
        self._identity = identity
        self._since = since
        # In whose name the progress comes that is wanted.
        self._progress = preview_channel(identity.owner) if previews else identity.owner if progress else None
        self._previews = previews
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._telling: asyncio.Task[None] | None = None

    async def serve(
        self,
        tell: Callable[[Event], Awaitable[None]],
        receive: Receive,
        disconnect: str,
        heartbeat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Tell events until the client goes, the token expires, or the listener is dismissed.

        Args:
            tell: sends one event.
            receive: the connection's.
            disconnect: the type of the message that says that the client has gone.
            heartbeat: sends a sign of life; None where the protocol does that.
        """
        unsubscribe = self._events.subscribe(self._identity.owner, self._hear, previews=self._previews)
        self._telling = asyncio.create_task(self._tell(tell, heartbeat))
        going = asyncio.create_task(_wait_for(receive, disconnect))
        both: set[asyncio.Task[None]] = {self._telling, going}
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
        """Send the listener away."""
        self.dismissed = self.dismissed or (code, reason)
        if self._telling is not None:
            self._telling.cancel()

    async def _tell(
        self, tell: Callable[[Event], Awaitable[None]], heartbeat: Callable[[], Awaitable[None]] | None
    ) -> None:
        known = 0
        if self._since is not None:
            # What happens meanwhile waits in the queue, and is passed over there if it was read here.
            missed = self._events.missed(self._identity.owner, self._since)
            while page := await asyncio.to_thread(next, missed, None):
                for event in page:
                    await tell(event)
                    known = event.id or known
        while True:
            try:
                event = await asyncio.wait_for(self._waiting.get(), HEARTBEAT if heartbeat else None)
            except asyncio.TimeoutError:
                assert heartbeat is not None  # noqa: S101 - nothing else sets a time
                await heartbeat()
                continue
            if event.id is None or event.id > known:
                await tell(event)

    def _hear(self, event: Event) -> None:
        """Called on whichever thread has the event."""
        if event.id is not None or event.owner == self._progress:
            self._loop.call_soon_threadsafe(self._keep, event)

    def _keep(self, event: Event) -> None:
        if event.id is None and self._waiting.qsize() >= MOST_WAITING // 2:
            return
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self.dismiss(TRY_AGAIN_LATER, "You do not keep up; come back with since=<the last event_id>.")


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


def _farewell(code: int, reason: str) -> dict[str, Any]:
    # A control frame has room for so much.
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
