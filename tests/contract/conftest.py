"""Each way to keep things, one after the other, over the real thing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from redis_server import RedisServer
from stores import OpenAgain, opened

from sd_api.storage.protocols import BlobStore, TaskStore, UserStore
from sd_api.stores import Stores

LIMITS = {
    "max_queued_requests_per_client": 2,
    "max_pending_tasks_per_user": 16,
    "max_pending_public_tasks": 18,
    "max_pending_tasks": 44,
    "max_blob_bytes_per_user": 100,
    "max_public_blob_bytes": 120,
    "max_blob_bytes": 200,
}


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Of a Redis with nothing in it."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(params=["sqlite", "redis"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenAgain]:
    """Open what is kept, after the process that had it open before has ended."""
    settings: dict[str, object] = {"data": tmp_path}
    if request.param == "redis":
        settings = {"cluster": {"redis_url": request.getfixturevalue("redis_url")}}
    with ExitStack() as stack:

        def open_again() -> Stores:
            stack.close()
            return stack.enter_context(opened(limits=LIMITS, **settings))

        yield open_again


@pytest.fixture
def stores(open_again: OpenAgain) -> Stores:
    return open_again()


@pytest.fixture
def users(stores: Stores) -> UserStore:
    return stores.users


@pytest.fixture
def tasks(stores: Stores) -> TaskStore:
    return stores.tasks


@pytest.fixture(params=["sqlite", "redis", "redis and a folder", "redis and a remote store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    settings: dict[str, object] = {"data": tmp_path}
    if request.param != "sqlite":
        places = {"redis": "redis", "redis and a folder": str(tmp_path / "shared")}
        place = places.get(request.param, f"memory://{uuid4().hex}")
        settings = {"cluster": {"redis_url": request.getfixturevalue("redis_url"), "blobs": place}}
    with opened(limits=LIMITS, **settings) as stores:
        yield stores.blobs
