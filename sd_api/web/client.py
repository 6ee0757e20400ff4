"""The client of a request: its program, and whether it is still connected."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from flask import request

from sd_api.settings.fields import is_loopback

# The key in the ASGI scope of a Future that is done once the client has closed its connection.
CLIENT_GONE = "sd_api.client_gone"

# The headers by which reverse proxies name their clients.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


def program_name() -> str:
    """Which of a client's programs sends the current request; the plugin, a browser and a script differ."""
    return request.headers.get("User-Agent", "")[:200]


def is_on_this_computer() -> bool:
    """Whether the client of this request is a program on this computer, and no reverse proxy on it."""
    forwarded = any(name in request.headers for name in FORWARDED)
    return not forwarded and is_loopback(request.remote_addr or "")


@contextmanager
def when_client_goes(call: Callable[[], object]) -> Iterator[None]:
    """Call ``call`` on a thread of its own if the client disconnects while the block runs.

    If nothing watches the connection, as in Flask's test client, ``call`` is never called.
    """
    gone: Future[None] | None = request.environ.get("asgi.scope", {}).get(CLIENT_GONE)
    inside = True

    def call_inside() -> None:
        if inside:
            call()

    if gone is not None:
        # The callback runs on the event loop, which must not wait for a queue on other machines.
        gone.add_done_callback(lambda _: threading.Thread(target=call_inside).start())
    try:
        yield
    finally:
        inside = False
