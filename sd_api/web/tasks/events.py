"""Events in real time: the websocket ``/events`` and the server-sent events of ``/events/stream``.

These connections last for hours, so they run beside Flask, on the event loop, where a listener costs no thread.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from sd_api.accounts.accounts import Accounts
from sd_api.errors import InvalidField, NotAuthenticated, ServerError
from sd_api.owners import client_of
from sd_api.storage.protocols import Event
from sd_api.tasks.events import EventSource
from sd_api.web.guards import Fetch, Guard
from sd_api.web.tasks.answers import event_json, failure
from sd_api.web.tasks.listener import POLICY_VIOLATION, SERVICE_RESTART, Listener, Receive

WEBSOCKET_PATH = "/events"
STREAM_PATH = "/events/stream"

# Connections of one client that listen at a time, and of all: each event is written once for each of them, and each
# holds its connection for hours.
MOST_LISTENERS_OF_CLIENT, MOST_LISTENERS = 64, 1024

# Seconds for a disconnected listener to receive the reason.
CLOSE_TIMEOUT = 1.0

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

    def _listener(self, scope: dict[str, Any]) -> Listener:
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
    async def _listening(self, listener: Listener) -> AsyncIterator[None]:
        self._listeners.add(listener)
        if self._stopping:
            listener.dismiss(SERVICE_RESTART, "The server is shutting down.")
        try:
            yield
        finally:
            self._listeners.discard(listener)


class TooManyListeners(ServerError):
    """As many connections listen as there may be."""

    status = 429


class _UpgradeNeeded(ServerError):
    status = 426


class _OnlyGet(ServerError):
    status = 405


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
