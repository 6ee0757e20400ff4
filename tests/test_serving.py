"""The listening socket, before any server runs on it."""

import socket

import pytest

from sd_api.errors import ConfigurationError
from sd_api.serving import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0"])
def test_asyncio_will_see_tcp_and_send_answers_at_once(host: str) -> None:
    """It switches Nagle's algorithm off only for connections that name their protocol; benchmarks show 40 ms."""
    with listen(host, 0) as listener:
        address = ("::1" if listener.family == socket.AF_INET6 else "127.0.0.1", listener.getsockname()[1])
        with socket.create_connection(address):
            connection, _ = listener.accept()
            with connection:
                assert connection.proto == socket.IPPROTO_TCP


def test_a_port_is_taken_only_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port: {port} is in use"):
            listen("127.0.0.1", port)
