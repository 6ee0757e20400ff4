"""One client's connection: how long it may take, how finely it may cut its body, and how many there may be."""

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sd_api.serving.bodies import LONGEST_PAUSE, LOWEST_RATE, RETRY_AFTER

# Bytes of a request's headers.
LONGEST_HEAD = 16 * 1024

# Seconds in which a request's headers must be complete.
HEAD_SECONDS = 15.0

# A client that sends on after it was refused is heard out, so that it reads the answer: for so many bytes, so many
# seconds, and so many without a word.
DRAINED_BYTES, DRAINED_SECONDS, DRAINED_PAUSE = 256 << 20, 60.0, 5.0

# Bytes that are parsed before it is looked whether there is any sense in going on.
STRETCH = 16 * 1024

# Parsing costs time for each piece of a body, a chunk or a packet: so many pieces are free, further ones need so many
# bytes each.
FREE_PIECES, BYTES_OF_PIECE = 1024, 512

# So many answers may lie in memory because their clients do not read.
MAX_WRITE_PAUSED = 64

# Bytes of an answer that the system holds for a client beyond those that are on their way. Without this limit, it takes
# megabytes from who does not read, and each copy keeps the event loop.
MOST_UNSENT = 128 * 1024

BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n"
)

# Bytes of further requests that a client may send before it has its answer.
MAX_AHEAD = 64 * 1024

BUSY = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
).encode()


def bad_request(message: str) -> bytes:
    """The answer to what is no HTTP, in the shapes of all dialects at once, because it is not known which is spoken."""
    shapes = {
        "status": "failure",
        "message": message,
        "detail": message,
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None},
    }
    body = json.dumps(shapes).encode()
    return BAD_REQUEST % len(body) + body


class ConnectionTable:
    """All connections that wait for their client, to send something or to take its answer; the longest wait is first.

    Where there are too many of either, the first is closed: so a client that opens many and does nothing
    keeps nobody out, and takes no more memory than so many answers.

    Args:
        most: how many connections there may be, waiting or not.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: dict[Connection, None] = {}
        self._write_paused: dict[Connection, None] = {}

    def set_waiting(self, connection: "Connection", waits: bool) -> None:
        """Take note that a connection waits from now on, or that it does not."""
        self._waiting.pop(connection, None)
        if waits:
            self._waiting[connection] = None

    def set_write_paused(self, connection: "Connection", paused: bool) -> None:
        """Take note that a client does not take its answer as fast as it comes, or that it does again."""
        self._write_paused.pop(connection, None)
        if paused:
            self._write_paused[connection] = None
            if len(self._write_paused) > MAX_WRITE_PAUSED:
                next(iter(self._write_paused)).drop()

    def drop_longest_waiting(self) -> bool:
        """Close the connection that waits longest; whether there was one."""
        for connection in self._waiting:
            connection.drop()
            return True
        return False


class Connection(H11Protocol):
    """uvicorn's connection with limits: of time, of pieces, and of answers that their clients do not take."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(config, ConnectionConfig)  # noqa: S101 - what make_config makes
        self._table = config.table
        self.conn: _Parser = _Parser(h11.SERVER, LONGEST_HEAD)
        # When it began to wait for headers, and when something came or was taken for the last time.
        self._since = self._heard = self._taken = self.loop.time()
        self._unsent = 0
        self._due = 0.0
        self._drained = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for this connection, or close it. See asyncio."""
        super().connection_made(transport)
        if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
            # macOS refuses it where the client has gone already.
            with suppress(OSError):
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, MOST_UNSENT)
        self._timer = self.loop.call_later(1, self._check_deadlines)
        if len(self.connections) > self._table.most and not self._table.drop_longest_waiting():
            transport.write(BUSY)
            transport.close()
        else:
            self._table.set_waiting(self, True)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, a stretch at a time. See asyncio."""
        self._heard = self.loop.time()
        if self._is_refused:
            self._drained += len(data)
            if self._drained > DRAINED_BYTES:
                self.drop()
        for start in range(0, len(data), STRETCH):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                break
            if self._is_ahead:
                # Not looked at, and the connection ends with its answer. uvicorn reads on to see the client go.
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                break
            super().data_received(data[start : start + STRETCH])
            if self.conn.is_cut_too_finely and not self.transport.is_closing():
                self.send_400_response("The body comes in too many pieces that are too small.")
        self._table.set_waiting(self, self._waits_for_client)

    def on_response_complete(self) -> None:
        """See uvicorn; called when an answer has been handed to the socket."""
        self._since = self._heard = self.loop.time()
        self._drained = 0
        super().on_response_complete()
        self._table.set_waiting(self, self._waits_for_client)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and let nobody answer it a second time. See uvicorn.

        Written without h11, which has lost its way by now.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(bad_request(msg))
            self.transport.close()
        else:
            self.drop()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._table.set_write_paused(self, True)

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._table.set_write_paused(self, False)

    def drop(self) -> None:
        """Close the connection at once, whatever is not sent yet."""
        self._table.set_waiting(self, False)
        self._table.set_write_paused(self, False)
        self.transport.abort()

    @property
    def _waits_for_client(self) -> bool:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return False
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    @property
    def _is_refused(self) -> bool:
        """Whether the answer was given before the body had come."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    @property
    def _is_ahead(self) -> bool:
        """Whether too much came after a request that is not answered yet."""
        if self.cycle is None or self.cycle.response_complete or self.conn.their_state is not h11.DONE:
            return False
        return len(self.conn.trailing_data[0]) > MAX_AHEAD

    def _check_deadlines(self) -> None:
        """Once a second: close the connection if its client has taken too long."""
        self._timer = None
        now = self.loop.time()
        upgraded = self.transport.get_protocol() is not self
        unsent = self.transport.get_write_buffer_size()
        if upgraded and self.transport.is_closing() and not unsent:
            return
        if unsent > self._unsent:
            self._due = now + LONGEST_PAUSE + unsent / LOWEST_RATE
        if unsent > self._unsent or unsent < self._unsent or not unsent:
            self._taken = now
        self._unsent = unsent
        if unsent:
            overdue = now > min(self._due, self._taken + LONGEST_PAUSE)
        elif upgraded:
            overdue = False
        elif self._is_refused:
            overdue = now > min(self._since + DRAINED_SECONDS, self._heard + DRAINED_PAUSE)
        else:
            overdue = (self.cycle is None or self.cycle.response_complete) and now > self._since + HEAD_SECONDS
        if overdue:
            self.drop()
        else:
            self._timer = self.loop.call_later(1, self._check_deadlines)

    def _forget(self) -> None:
        self._table.set_waiting(self, False)
        self._table.set_write_paused(self, False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ConnectionConfig(Config):
    """uvicorn's configuration, and what its connections share.

    Args:
        table: of one server.
        settings: uvicorn's.
    """

    def __init__(self, table: ConnectionTable, **settings: Any) -> None:
        super().__init__(**settings, http=Connection)
        self.table = table


class _Parser(h11.Connection):
    """Counts the pieces in which a body comes."""

    _pieces = 0
    _bytes = 0

    @property
    def is_cut_too_finely(self) -> bool:
        return self._pieces > FREE_PIECES + self._bytes // BYTES_OF_PIECE

    def receive_data(self, data: bytes) -> None:
        self._bytes += len(data)
        super().receive_data(data)

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces += 1
        elif isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
        return event
