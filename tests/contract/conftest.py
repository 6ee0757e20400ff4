"""Each way to keep things, one after the other, over the real thing."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis_server import RedisServer
from stores import Stores, redis_stores, sql_stores

from sd_api.settings import Limits
from sd_api.storage.protocols import BlobStore, TaskStore, UserStore

LIMITS = Limits(max_blob_bytes_per_user=100)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "sqlite":
        made = sql_stores(tmp_path, LIMITS)
    else:
        made = redis_stores(request.getfixturevalue("empty_redis"), LIMITS)
    with made as stores:
        yield stores


@pytest.fixture
def users(stores: Stores) -> UserStore:
    return stores.users


@pytest.fixture
def tasks(stores: Stores) -> TaskStore:
    return stores.tasks


@pytest.fixture(params=["sqlite", "redis", "redis and a folder", "redis and a remote store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    places = {"redis": "redis", "redis and a folder": str(tmp_path / "shared")}
    places["redis and a remote store"] = f"memory://{uuid4().hex}"
    if request.param == "sqlite":
        made = sql_stores(tmp_path, LIMITS)
    else:
        made = redis_stores(request.getfixturevalue("empty_redis"), LIMITS, places[request.param])
    with made as stores:
        yield stores.blobs
