"""One client's websocket: how much it may send."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sd_api.serving.connection import bad_request

# Clients only listen: they send pings, pongs and a close. So many bytes may come at once, so many more each second;
# an empty frame has six bytes, and each frame costs more time than its size.
FREE_BYTES, BYTES_PER_SECOND = 8192, 256

POLICY_VIOLATION = 1008


class Websocket(WebSocketsSansIOProtocol):
    """uvicorn's websocket, closed when its client sends too much; messages are read and dropped."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._left = float(FREE_BYTES)
        self._heard = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much. See asyncio."""
        if self.handshake_initiated:
            now = self.loop.time()
            self._left = min(FREE_BYTES, self._left + (now - self._heard) * BYTES_PER_SECOND) - len(data)
            self._heard = now
            if self._left < 0:
                self._refuse()
                return
        super().data_received(data)
        # What came first is the whole request. websockets waits for ever after one that it cannot read.
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(bad_request("A websocket begins with a short GET request without a body."))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Drop a message. See uvicorn."""
        self.frames = []

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            if self.handshake_complete and not self.close_sent:
                self.conn.fail(POLICY_VIOLATION, "Clients only listen here; too much came.")
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.close_sent = True
            self.transport.close()
