"""Tasks that several API processes dispatch, while a worker makes their pictures."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from tasks_server import STATUS, Driven, Server

from sd_api.errors import StoreUnavailable
from sd_api.jobs.cluster.queue import ClusterQueue
from sd_api.jobs.cluster.worker import ClusterWorker
from sd_api.models.catalog import ModelCatalog
from sd_api.owners import client_of, qualified
from sd_api.settings import Settings
from sd_api.storage.protocols import Task
from sd_api.stores import Stores
from sd_api.tasks import dispatcher
from sd_api.tasks.cluster import task_queue
from sd_api.tasks.requests import RequestMaker

OpenStores = Callable[..., Stores]
Join = Callable[..., Server]


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_queue, "LEASE", 1.0)
    monkeypatch.setattr(task_queue, "RENEWAL_INTERVAL", 0.1)
    monkeypatch.setattr(dispatcher, "RETRY_INTERVAL", 0.1)


@pytest.fixture
def engine() -> Driven:
    return Driven()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    return Settings.model_validate({"model": str(model)})


@pytest.fixture
def join(open_stores: OpenStores, redis_server: RedisServer, engine: Driven, settings: Settings) -> Iterator[Join]:
    """One more API process, beside the one worker that all of them have."""
    worker = ClusterWorker(redis_server.cluster, lambda: engine, STATUS, settings.limits)
    worker.start()
    stops: list[Callable[[float], object]] = [worker.stop]

    def join(*, dispatches: bool = True) -> Server:
        queue = ClusterQueue(redis_server.cluster, STATUS, settings.limits)
        queue.start()
        stops.append(queue.stop)
        server = Server(settings, open_stores(), queue)
        if dispatches:
            server.dispatcher.start()
            stops.append(server.dispatcher.stop)
        return server

    yield join
    for stop in reversed(stops):
        stop(10)


class Dying:
    """A process that ends without a word in the middle of its work.

    Args:
        server: what it works with; its dispatcher is not started.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self.server = server
        self._requests = RequestMaker(ModelCatalog(settings), server.blobs, settings.limits)

    def claim(self, prompt: str) -> Task:
        task_id = self.server.create(prompt)
        task = self.server.stores.task_queue.next(0)
        assert task is not None
        assert task.id == task_id
        self.server.stores.task_queue.take()
        return task

    def submit(self, task: Task) -> None:
        request, _ = self._requests.make(task.owner, task.parameters)
        self.server.queue.submit(
            request, job_id=qualified(task.owner, task.id), client=client_of(task.owner), rejoin=True
        )

    def begin(self, task: Task) -> None:
        self.server.store.record(task, "started", {"event_type": "started"})


@pytest.fixture
def dying(join: Join, settings: Settings) -> Dying:
    # Its lease is never renewed.
    return Dying(join(dispatches=False), settings)


def test_what_one_process_accepts_another_may_dispatch(join: Join, engine: Driven) -> None:
    accepting = join(dispatches=False)
    join()
    engine.permissions.release(2)
    for task_id in (accepting.create("a dog"), accepting.create("a cat")):
        accepting.wait(task_id, "finished")
    assert engine.made == ["a dog", "a cat"]


def test_a_job_that_runs_is_followed_by_who_takes_it_over(join: Join, dying: Dying, engine: Driven) -> None:
    task = dying.claim("a dog")
    dying.submit(task)
    dying.begin(task)
    heir = join()
    engine.permissions.release()
    event = heir.wait(task.id, "finished")
    assert heir.kinds(task.id) == ["pending", "started", "finished"]
    assert heir.blobs.read(heir.blobs.blob("user:a", event.content["image"]["blob_id"])) == b"a dog"
    assert engine.made.count("a dog") == 1


def test_a_job_whose_start_nobody_recorded_is_followed(join: Join, dying: Dying, engine: Driven) -> None:
    task = dying.claim("a dog")
    dying.submit(task)
    heir = join()
    engine.permissions.release(2)
    heir.wait(task.id, "finished")
    assert heir.kinds(task.id) == ["pending", "started", "finished"]
    assert engine.made == ["a dog"]


@pytest.mark.parametrize("begun", [False, True])
def test_what_has_no_job_gets_one(join: Join, dying: Dying, engine: Driven, begun: bool) -> None:
    task = dying.claim("a dog")
    if begun:
        dying.begin(task)
    heir = join()
    engine.permissions.release()
    heir.wait(task.id, "finished")
    again = ["started", "pending"] if begun else []
    assert heir.kinds(task.id) == ["pending", *again, "started", "finished"]


def test_who_was_only_slow_changes_nothing_any_more(join: Join, dying: Dying, engine: Driven) -> None:
    task = dying.claim("a dog")
    dying.submit(task)
    dying.begin(task)
    heir = join()
    engine.permissions.release()
    heir.wait(task.id, "finished")
    assert dying.server.store.record(task, "finished", {"event_type": "finished"}) is None
    assert heir.kinds(task.id) == ["pending", "started", "finished"]


def test_who_ends_in_peace_is_followed_at_once(join: Join, engine: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_queue, "LEASE", 1000.0)
    first = join()
    task_id = first.create("a dog")
    first.wait(task_id, "started")
    second = join()
    first.dispatcher.stop(timeout=10)
    engine.permissions.release()
    second.wait(task_id, "finished")
    assert second.kinds(task_id) == ["pending", "started", "finished"]
    assert engine.made == ["a dog"]


def test_many_processes_dispatch_each_task_once(join: Join, engine: Driven) -> None:
    servers = [join() for _ in range(3)]
    engine.permissions.release(30)
    tasks = [servers[number % 3].create(f"task {number}") for number in range(30)]
    for task_id in tasks:
        servers[0].wait(task_id, "finished")
        assert servers[0].kinds(task_id) == ["pending", "started", "finished"]
    assert sorted(engine.made) == sorted(f"task {number}" for number in range(30))


def test_what_ends_while_redis_is_away_is_kept_when_it_is_back(
    impatient: None, join: Join, engine: Driven, redis_server: RedisServer
) -> None:
    server = join()
    running, waiting = server.create("running"), server.create("waiting")
    deadline = time.monotonic() + 20
    # The worker has begun with it, rather than just claimed it.
    while not any(event.content["event_type"] == "progress" for event in server.events):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    redis_server.kill()
    engine.permissions.release(2)
    while not engine.made:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # Long enough that it was tried in vain.
    time.sleep(0.3)
    redis_server.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            server.tasks.last_event("user:a", running)
            break
        except StoreUnavailable:
            # Requests are refused until the first one of a second has been answered.
            assert time.monotonic() < deadline
            time.sleep(0.01)
    for task_id in (running, waiting):
        server.wait(task_id, "finished")
        assert server.kinds(task_id) == ["pending", "started", "finished"]
