"""The bodies of requests in memory, and the limit of memory for all of them together."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge

from sd_api.errors import RequestError, ServerStopping, Unavailable
from sd_api.serving.memory import Trimming
from sd_api.web.admission import Admission
from sd_api.web.content_coding import MEMORY as UNPACKER_MEMORY
from sd_api.web.content_coding import Unpacker

Receive = Callable[[], Awaitable[Any]]

# Seconds within which the next bytes of a body must arrive.
LONGEST_PAUSE = 30.0

# Bytes per second, on average after the first LONGEST_PAUSE: a picture of 10 MB may take ten minutes.
LOWEST_RATE = 16 * 1024

# The Retry-After of NoRoom, in seconds.
RETRY_AFTER = 5


class TooSlow(RequestError):
    """The body did not arrive in time."""

    status = 408


class NoRoom(Unavailable):
    """The bodies of all clients have used up the memory for bodies."""

    def __init__(self) -> None:
        super().__init__("The server receives too many large requests at once. Try again.", RETRY_AFTER)


class ClientGone(Exception):
    """The client closed its connection before its body was complete."""


class Bodies:
    """All bodies that are in memory.

    If there is no room for more bytes, the incomplete body that has received nothing for the longest time is refused,
    so a client with stalled requests takes no memory from one that sends.

    Args:
        capacity: bytes for all of them.
        trimming: knows what they take.
    """

    def __init__(self, capacity: int, trimming: Trimming) -> None:
        self._capacity = capacity
        self._used = 0
        self._trimming = trimming
        self._stopping = False
        # Incomplete bodies, the most recently active last.
        self._arriving: dict[Body, None] = {}

    def open(self) -> "Body":
        """A new, empty body; the caller closes it when its content is no longer needed."""
        body = Body(self)
        self._arriving[body] = None
        if self._stopping:
            body.refuse(_stopping())
        return body

    def stop(self) -> None:
        """Refuse the bodies that are not complete, because the server is shutting down."""
        self._stopping = True
        for body in self._arriving:
            body.refuse(_stopping())

    def reserve(self, body: "Body", size: int) -> None:
        """Make room for ``size`` more bytes of a body that is arriving.

        Raises:
            NoRoom: there is no room, and no staler body to refuse.
        """
        del self._arriving[body]
        self._arriving[body] = None
        while self._used + size > self._capacity:
            stalest = next(iter(self._arriving))
            if stalest is body:
                raise NoRoom
            stalest.refuse(NoRoom())
            self.release(stalest)
        self._used += size
        self._trimming.take(size)

    def complete(self, body: "Body") -> None:
        """Mark a body as complete; it is no longer refused to make room."""
        self._arriving.pop(body, None)

    def release(self, body: "Body") -> None:
        """Give back the memory of a body."""
        self.complete(body)
        self._used -= body.size
        size, body.size = body.size, 0
        body.content = io.BytesIO()
        self._trimming.give(size)


class Body:
    """One body.

    Attributes:
        content: the bytes that have arrived, unpacked.
        size: bytes of memory that are reserved for it.
        length: bytes of the content.
    """

    def __init__(self, bodies: Bodies) -> None:
        self.content = io.BytesIO()
        self.size = 0
        self.length = 0
        self._bodies = bodies
        self._refusal: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def refuse(self, error: Exception) -> None:
        """Let ``read`` raise this error as soon as possible."""
        if not self._refusal.done():
            self._refusal.set_result(error)

    async def read(self, receive: Receive, admission: Admission) -> None:
        """Read the body to its end.

        Args:
            receive: the ASGI 3 callable of the connection.
            admission: the limit of the body's length, what unpacks it, and the check of each piece.

        Raises:
            ServerError: the body is refused.
            RequestEntityTooLarge: the body is too long.
            ClientGone: the client closed its connection.
        """
        started = time.monotonic()
        unpacker, received, more = admission.unpacker, 0, True
        if unpacker is not None:
            self._reserve(UNPACKER_MEMORY)
        while more:
            message = await self._next(receive)
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece, more = message.get("body", b""), message.get("more_body", False)
            received += len(piece)
            if received > admission.max_bytes:
                raise RequestEntityTooLarge
            if unpacker is None:
                self._take(piece, admission)
            else:
                await self._unpack(piece, unpacker, admission)
            if more and received < LOWEST_RATE * (time.monotonic() - started - LONGEST_PAUSE):
                raise _too_slow()
        if unpacker is not None:
            unpacker.finish()
        self._bodies.complete(self)
        # Shrinks the buffer to the content; nothing is copied.
        self.content.getvalue()
        self.content.seek(0)

    def close(self) -> None:
        """Give back the memory."""
        self._bodies.release(self)

    async def _unpack(self, piece: bytes, unpacker: Unpacker, admission: Admission) -> None:
        for stretch in unpacker.unpack(piece):
            self._take(stretch, admission)
            # A small piece can become a great many bytes; other connections are served between two stretches.
            await asyncio.sleep(0)
            if self._refusal.done():
                raise self._refusal.result()

    def _take(self, piece: bytes, admission: Admission) -> None:
        if self.length + len(piece) > admission.max_bytes:
            raise RequestEntityTooLarge
        admission.check(piece)
        self._reserve(len(piece))
        self.length += len(piece)
        self.content.write(piece)

    def _reserve(self, size: int) -> None:
        self._bodies.reserve(self, size)
        self.size += size

    async def _next(self, receive: Receive) -> Any:
        message = asyncio.ensure_future(receive())
        both: set[asyncio.Future[Any]] = {message, self._refusal}
        try:
            await asyncio.wait(both, timeout=LONGEST_PAUSE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            message.cancel()
        if self._refusal.done():
            raise self._refusal.result()
        if not message.done():
            raise _too_slow()
        return message.result()


def _too_slow() -> TooSlow:
    return TooSlow(
        f"The request's body came too slowly: less than {LOWEST_RATE} bytes a second, or after a long pause."
    )


def _stopping() -> ServerStopping:
    return ServerStopping("The server is shutting down.")
