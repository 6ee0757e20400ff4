"""One request, from its headers to its answer."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from a2wsgi import WSGIMiddleware
from werkzeug.exceptions import RequestEntityTooLarge

from sd_api.errors import ServerError
from sd_api.serving.bodies import Bodies, Body, ClientGone
from sd_api.serving.memory import Trimming
from sd_api.web.admission import ADMISSION, REFUSAL, Admission
from sd_api.web.client import CLIENT_GONE
from sd_api.web.reading import BODY, RELEASE
from sd_api.web.tasks.events import EventStreams

# Threads besides those that wait for their turn in the queue: for requests that run, as many as go into one batch,
# and for those that are being read or refused.
SPARE_THREADS = 32

# Threads for what is done at once: /health and its like, and whether a body is to be read.
READING_THREADS = 4

# What asks whether the server is there has a thread of its own, because it waits for nothing: no device, no store.
PROBE = "/ping"

# What only reads and can take its time all the same: images, which may have to be converted.
SLOW_READS = ("/blob/", "/v1/images/results/")

# Bytes of the pixels that one of these decodes, about as many as those of a picture of 1,600 x 1,600.
SLOW_READ_BYTES = 8 << 20

# What stops a job is not only reading, but must not wait for those that wait for their pictures.
JOBS = "/jobs/"

# So many of the largest bodies are in memory at a time, or more of smaller ones.
LARGEST_BODIES = 2

# Bytes of an answer that are handed to the socket at a time.
PIECE = 1 << 18

# On every answer that does not say otherwise: a browser takes it for nothing but what it is called, shows it in no
# page of others, and runs nothing that is in it.
HEADERS = {
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


class Edge:
    """Runs a WSGI application on threads, each with a whole request and word of its client.

    Who listens to events is served beside it, without a thread.

    The application is asked with the headers alone whether it would serve a request. Then its body is read, before a
    thread is taken, so that slow uploads cannot hold the threads.

    Args:
        app: the WSGI application; see ``sd_api.web.admission`` for what it is asked.
        events: the application for those who listen to events.
        max_request_bytes: the size of the largest body.
        threads: how many requests may be inside the application at a time.
    """

    def __init__(self, app: Any, events: EventStreams, max_request_bytes: int, threads: int) -> None:
        self._events = events
        # Without a limit of what is queued, because a thread would wait there for a client that does not read.
        self._wsgi = WSGIMiddleware(_in_one_piece(app), workers=threads, send_queue_size=0)
        # Of their own, so that they are free while every other thread decodes pictures.
        self._reading = WSGIMiddleware(_in_one_piece(app), workers=READING_THREADS, send_queue_size=0)
        self._probing = WSGIMiddleware(_in_one_piece(app), workers=1, send_queue_size=0)
        self._trimming = Trimming()
        self._bodies = Bodies(LARGEST_BODIES * max_request_bytes, self._trimming)
        self._stopping = False
        # Of all long answers, one hands a piece to its socket in each turn of the event loop.
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection's request, as ASGI 3 has it."""

        async def send_safely(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                await send(_with_headers(message))
            elif message["type"] == "http.response.body":
                pieces = _pieces(message)
                await send(next(pieces))
                for piece in pieces:
                    async with self._turn:
                        await asyncio.sleep(0)
                    await send(piece)
            else:
                await send(message)

        if self._events.takes(scope):
            await self._events(scope, receive, send_safely)
        elif _has_body(scope):
            await self._serve_body(scope, receive, send_safely)
        else:
            await self._answer(_with_length(scope, 0), receive, send_safely)

    def stop(self) -> None:
        """Give up the requests that are still being read; they are answered that the server is shutting down."""
        self._stopping = True
        self._bodies.stop()
        self._events.stop()

    async def _serve_body(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        admission = Admission()
        refusal: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            refusal.append(message)

        await self._reading({**scope, ADMISSION: admission}, _no_body, keep)
        if not admission.granted:
            for message in refusal:
                await send(message)
            return
        body = self._bodies.open()
        try:
            outcome = await _read(body, receive, admission)
            release = partial(asyncio.get_running_loop().call_soon_threadsafe, body.close)
            await self._answer({**_with_length(scope, body.length), **outcome, RELEASE: release}, receive, send)
        except ClientGone:
            pass
        finally:
            body.close()

    async def _answer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        gone: Future[None] = Future()
        watcher = asyncio.create_task(_watch(receive, gone))
        reads = scope["method"] in ("GET", "HEAD", "OPTIONS")
        slow = reads and scope["path"].startswith(SLOW_READS)
        taken = SLOW_READ_BYTES if slow else 0
        self._trimming.take(taken)
        quick = (reads and not slow) or scope["path"].startswith(JOBS) or REFUSAL in scope
        application = self._probing if scope["path"] == PROBE else self._reading if quick else self._wsgi
        try:
            await application({**scope, CLIENT_GONE: gone}, _no_body, send)
        except asyncio.CancelledError:
            # A client that does not take its answer is not waited for any longer; nobody need hear of it.
            if not self._stopping:
                raise
        finally:
            watcher.cancel()
            self._trimming.give(taken)


def _in_one_piece(app: Any) -> Any:
    """The same application; for each piece of an answer, its thread would wait for the event loop.

    Streams of events are made piece by piece.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kinds: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            kinds.extend(value for name, value in headers if name.lower() == "content-type")
            return start_response(status, headers, *failure)

        pieces: Iterable[bytes] = app(environ, start)
        if any(kind.startswith("text/event-stream") for kind in kinds):
            return pieces
        try:
            return [b"".join(pieces)]
        finally:
            getattr(pieces, "close", lambda: None)()

    return application


async def _read(body: Body, receive: Any, admission: Admission) -> dict[str, Any]:
    """Read a body; the scope that the application gets with it, or the refusal of the body.

    Raises:
        ClientGone: nobody waits for an answer.
    """
    try:
        await body.read(receive, admission)
    except (ServerError, RequestEntityTooLarge) as error:
        body.close()
        return {REFUSAL: error}
    return {BODY: body.content}


async def _watch(receive: Any, gone: "Future[None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set_result(None)


async def _no_body() -> dict[str, Any]:
    """The application takes a body from its scope, where it is in one piece."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _has_body(scope: dict[str, Any]) -> bool:
    stated = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    return any(value != b"0" for value in stated)


def _with_headers(message: dict[str, Any]) -> dict[str, Any]:
    named = {name.lower() for name, _ in message["headers"]}
    further = [(name, value) for name, value in HEADERS.items() if name not in named]
    return {**message, "headers": [*message["headers"], *further]}


def _pieces(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a long answer, so that it is seen whether the client takes them."""
    body, more = message.get("body", b""), message.get("more_body", False)
    for start in range(0, len(body) or 1, PIECE):
        end = start + PIECE
        yield {**message, "body": body[start:end], "more_body": more or end < len(body)}


def _with_length(scope: Any, length: int) -> dict[str, Any]:
    """The scope with the length of the body as it was read: whole and unpacked."""
    framing = (b"content-length", b"transfer-encoding", b"content-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name not in framing]
    if length:
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}
