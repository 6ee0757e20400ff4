"""Several processes' stores over one real Redis."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from redis_server import RedisServer
from stores import opened

from sd_api.cluster import connection
from sd_api.stores import Stores

OpenStores = Callable[..., Stores]


@pytest.fixture
def open_stores(redis_server: RedisServer) -> Iterator[OpenStores]:
    """Open the stores of one more process; the first finds nothing."""
    with redis_server.client() as client:
        client.flushall()
    with ExitStack() as stack:

        def open_stores(blobs: str = "redis", **settings: object) -> Stores:
            cluster = {"redis_url": redis_server.url, "blobs": blobs}
            return stack.enter_context(opened(cluster=cluster, **settings))

        yield open_stores


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands give up at once where Redis is not there."""
    monkeypatch.setattr(connection, "connect", partial(connection.connect, attempts=0))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that all processes share."""
    return tmp_path / "shared"
