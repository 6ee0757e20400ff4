"""What a watched task costs Redis: the commands of one step, those within scripts included."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from stores import opened
from tasks_server import STATUS, Server

from sd_api.errors import JobCancelled
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import Feed, Progress
from sd_api.jobs.cluster.queue import ClusterQueue
from sd_api.jobs.cluster.worker import ClusterWorker
from sd_api.settings import Settings

STEPS = 200
LIMITS = {"max_queued_requests": 60, "max_queued_requests_per_client": 20}


class Stepping:
    """An engine that makes a step of its first job for each permission."""

    def __init__(self) -> None:
        self.permissions = threading.Semaphore(0)
        self.steps = threading.Semaphore(0)

    def load(self) -> None:
        pass

    def status(self) -> Any:
        return replace(STATUS, abilities={None: ModelAbilities(("txt2img",), 8, 512)})

    def at_once(self) -> int:
        return 1

    def serve(self, feed: Feed) -> None:
        (run,) = feed.poll(1, active=False)
        for step in range(1, 10 * STEPS):
            self.permissions.acquire()
            try:
                run.report(Progress("denoising", step, 10 * STEPS))
            except JobCancelled:
                return
            feed.poll(1, active=True)
            self.steps.release()

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.permissions.release()
            assert self.steps.acquire(timeout=20)


@pytest.fixture
def engine() -> Stepping:
    return Stepping()


@pytest.fixture
def server(redis_server: RedisServer, tmp_path: Path, engine: Stepping) -> Iterator[Server]:
    (tmp_path / "model_index.json").write_text("{}")
    cluster = redis_server.emptied()
    settings = Settings.model_validate({"model": str(tmp_path), "limits": LIMITS})
    worker = ClusterWorker(cluster, lambda: engine, STATUS, settings.limits)
    worker.start()
    queue = ClusterQueue(cluster, STATUS, settings.limits)
    queue.start()
    with opened(cluster={"redis_url": redis_server.url}, limits=LIMITS) as stores:
        server = Server(settings, stores, queue)
        server.dispatcher.start()
        yield server
        server.dispatcher.stop(10)
        queue.stop(10)
        worker.stop(0)
        engine.permissions.release()


@pytest.mark.parametrize("waiting", [0, 15])
def test_a_step_of_a_watched_task_costs_four_commands_however_many_wait(
    server: Server, redis_server: RedisServer, engine: Stepping, waiting: int
) -> None:
    # The server's listener watches the tasks of user:a.
    server.create("running", steps=50)
    engine.go(2)
    for number in range(waiting):
        server.create(f"waiting {number}", owner=f"user:{number % 3}", steps=50)
    deadline = time.monotonic() + 20
    while len(server.queue.jobs()) <= waiting:
        assert time.monotonic() < deadline
    # Once more, because those that have come may join or overtake.
    engine.go(2)
    with redis_server.client() as client:
        client.config_resetstat()
        engine.go(STEPS)
        counts = {name: count["calls"] for name, count in client.info("commandstats").items()}
    progress = [event.content["step"] for event in server.events if event.content["event_type"] == "progress"]
    assert len(progress) > STEPS // 2
    # And what is done each second, whatever happens.
    assert sum(counts.values()) < 4 * STEPS + 150, counts
