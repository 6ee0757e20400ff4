"""The network edge: a production server in this process, and the news that a client has gone.

uvicorn serves, because it runs the same on Windows, macOS and Linux, sees a client close its
connection, and speaks websockets; a2wsgi runs the Flask application behind it on threads.
"""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from flask import Flask
from uvicorn.server import HANDLED_SIGNALS

from sd_api.errors import ConfigurationError
from sd_api.settings import Settings
from sd_api.web.client import CLIENT_GONE, SERVER_STOPPING
from sd_api.web.tasks.events import EventStreams

log = logging.getLogger(__name__)

# Threads besides those that wait for their turn in the queue: for requests that run, as many as go into one batch,
# and for those that are being read or refused.
SPARE_THREADS = 32

# Threads for what is done at once: /ping, /health and their like.
READING_THREADS = 4

# What only reads and can take its time all the same: images, which may have to be converted.
SLOW_READS = "/blob/"

# What stops a job is not only reading, but must not wait for those that wait for their pictures.
JOBS = "/jobs/"

# The longest message that is read from a websocket.
MAX_MESSAGE_BYTES = 4096

# A client that sends too much reads the answer only when it has sent all; beyond this it is cut off.
DRAINED_LIMITS = 4

# Seconds that answers under way have to be sent once the server stops.
GRACE = 1


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before anything slow is begun.

    Args:
        host: an address or name of this machine.
        port: 0 takes any free one.

    Raises:
        ConfigurationError: naming the port and how to choose another.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        # Of a name with both, such as localhost, the address that every client tries.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError([_why_not(error, host, port)]) from None
    # Named as TCP, which create_server leaves out: asyncio switches Nagle's algorithm off only where it sees
    # that name, and with it every answer would wait 40 ms for the acknowledgement of its headers.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def serve(
    app: Flask, events: EventStreams, settings: Settings, listener: socket.socket, before_stop: Callable[[], object]
) -> None:
    """Answer requests until Ctrl-C or a request to terminate.

    Args:
        app: the application.
        events: what serves those who listen to events.
        settings: for the limits.
        listener: what ``listen`` returned.
        before_stop: called when stopping begins, to end what requests are waiting for.
    """
    edge = Edge(app, events, settings.limits.max_request_bytes, settings.limits.max_queued_requests + SPARE_THREADS)
    server = _Server(make_config(edge, settings.trusted_proxies), edge, before_stop)
    # uvicorn takes these signals over while it runs, and gives them back before the last steps of stopping:
    # handled like this, neither an early Ctrl-C nor an impatient second one breaks anything off.
    for number in HANDLED_SIGNALS:
        signal.signal(number, server.handle_exit)
    log.info("Listening on %s (Ctrl-C stops)", _where(listener))
    server.run([listener])


def make_config(edge: "Edge", trusted_proxies: Sequence[str]) -> uvicorn.Config:
    """How uvicorn serves an edge.

    Args:
        edge: what is served.
        trusted_proxies: addresses and networks; only their word is taken for who a client is (X-Forwarded-For).
    """
    return uvicorn.Config(
        edge,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ws="websockets-sansio",
        # Clients have nothing to say, and each compressing connection would keep its own tables.
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE,
    )


class Edge:
    """Runs a WSGI application on threads, each with a whole request and word of its client.

    Who listens to events is served beside it, without a thread.

    The body is read before a thread is taken, so that slow uploads cannot hold the threads.

    Args:
        app: the WSGI application.
        events: the application for those who listen to events.
        max_request_bytes: larger bodies are not kept; the application is told their size and refuses them.
        threads: how many requests may be inside the application at a time.
    """

    def __init__(self, app: Any, events: EventStreams, max_request_bytes: int, threads: int) -> None:
        self._events = events
        self._max_bytes = max_request_bytes
        self._wsgi = WSGIMiddleware(app, workers=threads)
        # Of their own, so that /ping is answered while every other thread decodes pictures.
        self._reading = WSGIMiddleware(app, workers=READING_THREADS)
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection's request, as ASGI 3 has it."""
        if self._events.takes(scope):
            await self._events(scope, receive, send)
            return
        read = asyncio.create_task(self._read(receive))
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((read, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not read.done():
            read.cancel()
            await self._answer({**_with_length(scope, 0), SERVER_STOPPING: True}, b"", receive, send)
        elif (received := read.result()) is not None:
            body, length = received
            await self._answer(_with_length(scope, length), body, receive, send)

    def stop(self) -> None:
        """Give up the requests that are still being read; they are answered that the server is shutting down."""
        self._stopping.set()
        self._events.stop()

    async def _answer(self, scope: dict[str, Any], body: bytes, receive: Any, send: Any) -> None:
        gone: Future[None] = Future()
        watcher = asyncio.create_task(_watch(receive, gone))

        async def replay() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        reads = scope["method"] in ("GET", "HEAD", "OPTIONS") and not scope["path"].startswith(SLOW_READS)
        application = self._reading if reads or scope["path"].startswith(JOBS) else self._wsgi
        try:
            await application({**scope, CLIENT_GONE: gone}, replay, send)
        except asyncio.CancelledError:
            # A client that does not take its answer is not waited for any longer; nobody need hear of it.
            if not self._stopping.is_set():
                raise
        finally:
            watcher.cancel()

    async def _read(self, receive: Any) -> tuple[bytes, int] | None:
        """The body and how long it was; an empty one where that is too long, None if the client left."""
        body = bytearray()
        length = 0
        more = True
        while more and length <= self._max_bytes * DRAINED_LIMITS:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            length += len(message.get("body", b""))
            if length > self._max_bytes:
                body.clear()
            else:
                body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body), length


class _Server(uvicorn.Server):
    """Ends the jobs before it stops, so that their requests are answered."""

    def __init__(self, config: uvicorn.Config, edge: Edge, before_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._edge = edge
        self._before_stop = before_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._edge.stop()
        self._before_stop()
        await super().shutdown(sockets)


async def _watch(receive: Any, gone: "Future[None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set_result(None)


def _with_length(scope: Any, length: int) -> dict[str, Any]:
    """The scope with the body's true length, which a chunked request does not state."""
    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    if length:
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}


def _where(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    if address in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        return f"http://127.0.0.1:{port}, and on the network at this machine's address, port {port}"
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _why_not(error: OSError | UnicodeError, host: str, port: int) -> str:
    another = port + 1 if 1023 < port < 65535 else 1337
    # The latter for text that cannot be a name at all.
    if isinstance(error, (socket.gaierror, UnicodeError)) or error.errno == errno.EADDRNOTAVAIL:
        return f"host: {host!r} is no address of this machine; use 127.0.0.1, or 0.0.0.0 for the whole network."
    if error.errno == errno.EADDRINUSE:
        return (
            f"port: {port} is in use on {host}; perhaps this server is running already. "
            f"Choose another with --port {another}, or stop the other program."
        )
    if error.errno == errno.EACCES:
        return f"port: {port} is reserved on this machine; choose another above 1023 with --port {another}."
    return f"port: {host}:{port} cannot be opened: {error.strerror}."
