"""What is particular about stores that many processes share; tests/contract has what all stores promise."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from redis_server import RedisServer
from sample_tasks import make_task, sample_event

from sd_api.accounts.attempts import PER_USER, Attempts
from sd_api.cluster.connection import check_redis, connect
from sd_api.errors import ConfigurationError, NameTaken, StoreUnavailable, TooManyAttempts, TooManyTasks, UnknownBlob
from sd_api.owners import public_token
from sd_api.settings import Cluster, Settings
from sd_api.storage.cluster import blobs as redis_blobs
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.protocols import Blob, User
from sd_api.stores import Stores
from sd_api.stores import open_stores as open_these
from sd_api.tasks.cluster import task_queue

OpenStores = Callable[..., Stores]


def test_what_one_process_keeps_all_see(open_stores: OpenStores) -> None:
    first, second = open_stores(), open_stores()
    first.users.add(User("1", "Ann", "hash"))
    with pytest.raises(NameTaken):
        second.users.add(User("2", "Ann", "hash"))
    task = make_task()
    first.tasks.add(task, sample_event("pending"))
    assert second.tasks.task("user:a", "1") == task
    blob = first.blobs.make("user:a", b"picture", "image/png")
    assert first.tasks.record(task, "finished", sample_event("finished"), [blob])
    assert second.tasks.record(task, "cancelled", sample_event("cancelled")) is None
    assert second.blobs.read(second.blobs.blob("user:a", blob.id)) == b"picture"


def test_all_sign_with_one_secret(open_stores: OpenStores) -> None:
    first, second = open_stores(), open_stores()
    assert first.secret == second.secret
    assert len(first.secret) >= 32
    assert open_stores(secret_key="x" * 32).secret == "x" * 32


def test_logins_are_counted_across_processes(open_stores: OpenStores) -> None:
    first, second = (Attempts(open_stores().attempts) for _ in range(2))
    for number in range(PER_USER.amount):
        (first, second)[number % 2].begin("here", "ann")
    for attempts in (first, second):
        with pytest.raises(TooManyAttempts):
            attempts.begin("here", "ann")
    second.begin("elsewhere", "ann")
    first.succeed("here", "ann")
    second.begin("here", "ann")


def test_everything_is_there_after_redis_was_killed(open_stores: OpenStores, redis_server: RedisServer) -> None:
    stores = open_stores()
    stores.users.add(User("1", "Ann", "hash"))
    task = make_task()
    stores.tasks.add(task, sample_event("pending"))
    blob = stores.blobs.make("user:a", b"picture", "image/png")
    last = stores.tasks.record(task, "finished", sample_event("finished"), [blob])
    redis_server.kill()
    redis_server.start()
    assert stores.users.find("Ann") == User("1", "Ann", "hash")
    assert stores.tasks.last_event(task) == last
    assert stores.blobs.read(stores.blobs.blob("user:a", blob.id)) == b"picture"
    later = stores.tasks.add(make_task("2"), sample_event("pending"))
    assert last is not None
    assert last.id is not None
    assert later.id == last.id + 1


def test_a_command_that_is_sent_twice_changes_nothing_more(open_stores: OpenStores, redis_server: RedisServer) -> None:
    stores = open_stores()
    with connect(redis_server.cluster) as client:
        commands = Commands(client)
        task = ("1", "user:a", "user:a", "{}", 1.0, '{"event_type":"pending"}')
        for _ in range(2):
            stores.users.add(User("1", "Ann", "hash"))
            assert commands.run("add_task", 1, 1, 1, *task) == b"1"
        assert commands.run("claim", "me", 60, 10, "")[0] == b"1"
        assert commands.run("claim", "me", 60, 10, "")[0] == b"1"
        blob = ("b", "user:a", 7, 4e9, "{}")
        for _ in range(2):
            assert commands.run("record", "1", "this change", "started", '{"event_type":"started"}') == b"2"
        for _ in range(2):
            assert commands.run("record", "1", "the end", "finished", '{"event_type":"finished"}', *blob) == b"3"
        for _ in range(2):
            assert commands.run("add_blob", 100, 100, 100, "c", "user:a", 5, 4e9, "{}") is None
        assert commands.run("bytes_used", "user:a") == [12, 0, 12]
    kinds = [event.content["event_type"] for event in stores.tasks.events_since("user:a", 0, limit=10)]
    assert kinds == ["pending", "started", "finished"]
    assert stores.tasks.count_starts(make_task()) == 1


def test_a_start_that_two_processes_record_is_one_event(open_stores: OpenStores) -> None:
    slow, heir = open_stores(), open_stores()
    task = make_task()
    slow.tasks.add(task, sample_event("pending"))
    recorded = [stores.tasks.record(task, "started", sample_event("started")) for stores in (heir, slow)]
    assert recorded[0] == recorded[1]
    assert slow.tasks.count_starts(task) == 1
    assert [event.content["event_type"] for event in slow.tasks.events_since("user:a", 0, limit=9)] == [
        "pending",
        "started",
    ]


def test_nothing_is_left_of_what_is_deleted(open_stores: OpenStores, redis_server: RedisServer) -> None:
    stores = open_stores()
    for number in range(250):
        task = make_task(str(number), ("user:1", "user:2", public_token("10.0.0.1", "3"))[number % 3])
        stores.tasks.add(task, sample_event("pending"))
        blob = stores.blobs.make(task.owner, b"picture", "image/png")
        stores.tasks.record(task, "finished", sample_event("finished"), [blob])
        stores.blobs.remove(blob)
    assert stores.tasks.delete_ended(4e9) == 250
    with redis_server.client() as client:
        # The numbers go on; and this process's connection is no key.
        assert set(client.keys("*")) == {b"sd:store:numbers", b"sd:store:secret_key", b"sd:store:names"}


def test_two_processes_do_not_pass_a_limit_together(open_stores: OpenStores) -> None:
    both = [open_stores(limits={"max_pending_tasks_per_user": 5}) for _ in range(2)]

    def add(number: int) -> bool:
        try:
            both[number % 2].tasks.add(make_task(str(number)), sample_event("pending"))
        except TooManyTasks:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(40))) == 5


def test_what_earlier_versions_have_stored_is_counted(open_stores: OpenStores, redis_server: RedisServer) -> None:
    """A blob and a pending task as they were stored, of an owner whose token names no address."""
    blob = Blob("b", "public:1", "", 7, "image/png", 1.0, 4e9)
    with redis_server.client() as client:
        client.hset("sd:store:blob:b", mapping={"owner": "public:1", "size": 7, "blob": json.dumps(asdict(blob))})
        client.zadd("sd:store:blobs", {"b": 4e9})
        client.zadd("sd:store:blobs:public:1", {"b": 4e9})
        client.set("sd:store:bytes:public:1", 7)
        task = {"owner": "public:1", "parameters": "{}", "state": "pending", "created": 1.0, "number": 1, "starts": 0}
        client.hset("sd:store:task:t", mapping=task | {"event_ids": "1", "event_id": "1", "event": "{}"})
        client.sadd("sd:store:pending:public:1", "t")
        client.zadd("sd:store:waiting:public:1", {"t": 1})
        client.zadd("sd:store:turns", {"public:1": 1})
    stores = open_stores()
    with connect(redis_server.cluster) as client:
        commands = Commands(client)
        assert commands.run("bytes_used", "public:1") == [7, 7, 7]
        stores.blobs.remove(stores.blobs.blob("public:1", "b"))
        assert commands.run("bytes_used", "public:1") == [0, 0, 0]
        assert commands.run("claim", "me", 60, 10, "")[0] == b"t"
        assert commands.run("tasks_pending", "public:1") == [1, 0, 0]
        assert stores.tasks.record(stores.tasks.task("public:1", "t"), "started", sample_event("started"))
        assert commands.run("tasks_pending", "public:1") == [0, 0, 0]


def test_contents_that_nobody_lists_are_swept(
    open_stores: OpenStores, redis_server: RedisServer, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_redis, in_folder = open_stores(), open_stores(str(shared))
    monkeypatch.setattr(redis_blobs, "GRACE", 0.0)
    for stores in (in_redis, in_folder):
        stray, listed = (stores.blobs.make("user:a", b"picture", "image/png") for _ in range(2))
        stores.blobs.add(listed)
        assert stores.blobs.sweep() == 1
        assert stores.blobs.read(listed) == b"picture"
        with pytest.raises(UnknownBlob):
            stores.blobs.read(stray)
    assert len(list(shared.glob("??/*"))) == 1
    with redis_server.client() as client:
        assert len(client.keys("sd:store:content:*")) == 1


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"redis_url": "redis://127.0.0.1:1"}, "cluster.redis_url: "),
        ({"blobs": "nonsense://bucket"}, "cluster.blobs: "),
        ({"blobs": "/dev/null/folder"}, "cluster.blobs: "),
    ],
)
def test_a_place_that_cannot_be_used_is_named(
    redis_server: RedisServer, settings: dict[str, Any], fault: str, impatient: None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_these(Settings.model_validate({"cluster": {"redis_url": redis_server.url} | settings}))
    assert caught.value.faults[0].startswith(fault)


def test_a_wrong_password_is_reported_and_not_tried_again(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("//", "//:wrong-one@")
    with redis_server.client() as client:
        client.config_set("requirepass", "right-one")
        try:
            with pytest.raises(ConfigurationError, match=r"cluster\.redis_url: Redis refuses the password") as caught:
                check_redis(Cluster.model_validate({"redis_url": url}))
        finally:
            client.config_set("requirepass", "")
    assert "wrong-one" not in str(caught.value)
    check_redis(redis_server.cluster)


def test_a_full_redis_refuses_tasks_and_the_lease_of_others_goes_on(
    open_stores: OpenStores, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queue, "RENEWAL_INTERVAL", 0.01)
    stores = open_stores()
    renewed = threading.Semaphore(0)
    stores.task_queue.start(lambda _: renewed.release())
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailable, match="is full"):
                stores.tasks.add(make_task(), sample_event("pending"))
            assert all(renewed.acquire(timeout=20) for _ in range(5))
        finally:
            client.config_set("maxmemory", 0)
    assert all(renewed.acquire(timeout=20) for _ in range(5))
    stores.task_queue.stop()


def test_a_bucket_that_is_away_is_reported_as_one(open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = open_stores("memory://bucket")
    blob = stores.blobs.make("user:a", b"picture", "image/png")

    def fail(*_: object) -> None:
        # What the libraries of buckets raise has no common base.
        raise RuntimeError("EndpointConnectionError")

    for name in ("pipe_file", "cat_file", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    with pytest.raises(StoreUnavailable):
        stores.blobs.make("user:a", b"picture", "image/png")
    with pytest.raises(StoreUnavailable):
        stores.blobs.read(blob)
    with pytest.raises(StoreUnavailable):
        stores.blobs.remove(blob)


def test_one_process_does_without_redis(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['redis'] = sys.modules['dramatiq'] = None\n"
        "from sd_api.settings import Settings\n"
        "from sd_api.stores import open_stores\n"
        f"open_stores(Settings(data={str(tmp_path)!r})).close()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
