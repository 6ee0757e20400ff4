"""Whether the client that asked is still there to get the answer."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from flask import request

# Where the network edge puts a Future that is done once the client has closed its connection.
CLIENT_GONE = "sd_api.client_gone"


@contextmanager
def when_client_goes(call: Callable[[], None]) -> Iterator[None]:
    """Call ``call``, from another thread, if the client goes while the block runs.

    Where nothing watches the connection, as in Flask's test client, it is never called.
    """
    gone: Future[None] | None = request.environ.get("asgi.scope", {}).get(CLIENT_GONE)
    inside = True
    if gone is not None:
        gone.add_done_callback(lambda _: call() if inside else None)
    try:
        yield
    finally:
        inside = False
