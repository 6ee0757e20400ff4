"""Who asks, and whether that client is still there to get the answer."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from flask import request

# Where the network edge puts a Future that is done once the client has closed its connection.
CLIENT_GONE = "sd_api.client_gone"


def client_name() -> str:
    """Who takes turns with whom: a program on a machine, as far as a request tells them apart."""
    # The plugin, a browser and a script on one machine have one address.
    return f"{request.remote_addr} {request.headers.get('User-Agent', '')[:200]}"


@contextmanager
def when_client_goes(call: Callable[[], object]) -> Iterator[None]:
    """Call ``call``, on a thread of its own, if the client goes while the block runs.

    Where nothing watches the connection, as in Flask's test client, it is never called.
    """
    gone: Future[None] | None = request.environ.get("asgi.scope", {}).get(CLIENT_GONE)
    inside = True

    def tell() -> None:
        if inside:
            call()

    if gone is not None:
        # The news comes on the event loop, which must not wait for a queue on other machines.
        gone.add_done_callback(lambda _: threading.Thread(target=tell).start())
    try:
        yield
    finally:
        inside = False
