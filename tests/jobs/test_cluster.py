"""Jobs over a real Redis, with workers in this process: what goes beyond the promises of every queue."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from asked import LIMITS as WIDE
from asked import asked
from redis_server import RedisServer
from requested import request

from sd_api import errors
from sd_api.errors import InvalidField, InvalidFields, JobCancelled, JobIdTaken, OutOfLimits, ServerError, Unavailable
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import EngineStatus, Feed, Progress, Run
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.result import GeneratedImage, GenerationResult, Placement
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec, worker_board
from sd_api.jobs.cluster.claimed import ClaimedJob
from sd_api.jobs.cluster.feed import ClaimFeed
from sd_api.jobs.cluster.queue import ClusterQueue
from sd_api.jobs.cluster.worker import ClusterWorker
from sd_api.jobs.job import Job
from sd_api.settings import Cluster, Limits

LOADING = EngineStatus("loading", "a model")
ABILITIES = ModelAbilities(("txt2img",), 8, 512)
LIMITS = Limits(max_job_seconds=1)


class OneModel:
    """An engine with room for one model; what it draws is the prompt."""

    def __init__(self, loaded: str | None = None) -> None:
        self.loaded = loaded
        self.made: list[str] = []
        self.loads = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.reported = threading.Event()

    def load(self) -> None:
        pass

    def status(self) -> EngineStatus:
        return replace(LOADING, state="ready", abilities={self.loaded: ABILITIES})

    def at_once(self) -> int:
        return 1

    def serve(self, feed: Feed) -> None:
        while runs := feed.poll(1, active=False) or feed.wait(1):
            for run in runs:
                self._make(run)

    def _make(self, run: Run) -> None:
        self.loads += run.spec.model != self.loaded
        self.loaded = run.spec.model
        self.made.append(run.spec.operation.prompt)
        while True:
            try:
                run.report(Progress("denoising", 1, 2))
            except JobCancelled:
                return
            self.reported.set()
            if run.preview_wanted:
                run.show(b"a preview")
            if self.may_go_on.wait(0.01):
                break
        picture = GeneratedImage(run.spec.operation.prompt.encode(), run.spec.seeds[0], False)
        run.finish(GenerationResult((picture,), ("a warning",)))


@pytest.fixture
def cluster(redis_server: RedisServer) -> Cluster:
    return redis_server.emptied()


StartQueue = Callable[[], ClusterQueue]
StartWorker = Callable[[OneModel], ClusterWorker]


@pytest.fixture
def start_queue(cluster: Cluster) -> Iterator[StartQueue]:
    queues: list[ClusterQueue] = []

    def start() -> ClusterQueue:
        queues.append(ClusterQueue(cluster, LOADING, LIMITS))
        queues[-1].start()
        return queues[-1]

    yield start
    for queue in queues:
        assert queue.stop(timeout=10)


@pytest.fixture
def queue(start_queue: StartQueue) -> ClusterQueue:
    return start_queue()


@pytest.fixture
def start_worker(cluster: Cluster, queue: ClusterQueue) -> Iterator[StartWorker]:
    workers: list[tuple[ClusterWorker, OneModel]] = []

    def start(engine: OneModel) -> ClusterWorker:
        workers.append((ClusterWorker(cluster, lambda: engine, LOADING, LIMITS), engine))
        workers[-1][0].start()
        wait_until(lambda: len([one for one in queue.workers() if one.engine.state == "ready"]) == len(workers))
        return workers[-1][0]

    yield start
    for worker, engine in workers:
        engine.may_go_on.set()
        assert worker.stop(timeout=10)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def with_model(model: str, prompt: str = "a dog") -> JobSpec:
    return request(prompt, model=model)


def test_idle_workers_get_the_jobs_whose_model_they_have(queue: ClusterQueue, start_worker: StartWorker) -> None:
    engines = {name: OneModel(name) for name in ("a", "b", "c")}
    for engine in engines.values():
        start_worker(engine)
    for _ in range(3):
        for name in engines:
            queue.submit(with_model(name)).result()
    assert {name: engine.loads for name, engine in engines.items()} == {"a": 0, "b": 0, "c": 0}
    assert [len(engine.made) for engine in engines.values()] == [3, 3, 3]


def test_a_model_stays_while_there_are_jobs_for_it_but_nobody_waits_for_ever(
    queue: ClusterQueue, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = OneModel("a")
    start_worker(engine)
    engine.may_go_on.clear()
    jobs = [queue.submit(with_model("a", "first"))]
    wait_until(lambda: engine.made)
    names = ["a", "b", "a", "b"]
    jobs += [queue.submit(with_model(name, f"{name}{turn}"), client=name) for turn, name in enumerate(names)]
    engine.may_go_on.set()
    for job in jobs:
        job.result()
    assert engine.made == ["first", "a0", "a2", "b1", "b3"]

    monkeypatch.setattr(worker_board, "PATIENCE_SECONDS", 0.0)
    engine.may_go_on.clear()
    jobs = [queue.submit(with_model("b", "again"))]
    wait_until(lambda: "again" in engine.made)
    jobs += [queue.submit(with_model(name, f"{name}{turn}"), client=name) for turn, name in enumerate(["a", "b", "b"])]
    engine.may_go_on.set()
    for job in jobs:
        job.result()
    # Passed over once, and not again.
    assert engine.made[5:] == ["again", "b1", "a0", "b2"]


def test_a_job_takes_no_longer_than_it_may(queue: ClusterQueue, start_worker: StartWorker) -> None:
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    with pytest.raises(JobCancelled, match="longer than 1 seconds"):
        queue.submit(request()).result()


def test_previews_are_made_for_who_asks(queue: ClusterQueue, start_worker: StartWorker) -> None:
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    job = queue.submit(request())
    assert engine.reported.wait(10)
    assert queue.job(job.id).preview is None
    wait_until(lambda: queue.job(job.id, preview=True).preview == b"a preview")
    engine.may_go_on.set()
    job.result()
    assert queue.job(job.id).preview is None


def test_a_job_outlives_the_process_that_accepted_it(
    start_queue: StartQueue, queue: ClusterQueue, start_worker: StartWorker
) -> None:
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    for job_id in ("of a task", "of a task that ends meanwhile"):
        queue.submit(request(job_id), job_id=job_id, client="user:a", rejoin=True)
    assert engine.reported.wait(10)
    assert queue.stop(timeout=10)

    other = start_queue()
    taken_up = other.submit(request("of a task"), job_id="of a task", client="user:a", rejoin=True)
    engine.may_go_on.set()
    assert taken_up.result().images[0].png == b"of a task"
    wait_until(lambda: other.job("of a task that ends meanwhile").state == "finished")
    late = other.submit(request(), job_id="of a task that ends meanwhile", client="user:a", rejoin=True)
    assert late.result().warnings == ("a warning",)
    assert engine.made == ["of a task", "of a task that ends meanwhile"]
    with pytest.raises(JobIdTaken):
        other.submit(request(), job_id="of a task", client="user:b", rejoin=True)


def test_what_only_clients_of_a_server_that_died_have_waited_for_is_not_made(
    cluster: Cluster, queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker
) -> None:
    # It sends no heartbeats.
    dead = ClusterQueue(cluster, LOADING, LIMITS)
    dead.submit(request("waiting"), job_id="waiting", client="somebody")
    dead.submit(request("task"), job_id="task", client="user:a", rejoin=True)
    dead.cache_result(dead.submit(request("kept"), job_id="kept", client="somebody"))
    with redis_server.client() as client:
        client.delete(f"sd:server:{dead._id}")
    engine = OneModel()
    start_worker(engine)
    wait_until(lambda: not queue.jobs())
    assert {job_id: queue.job(job_id).state for job_id in ("waiting", "task", "kept")} == {
        "waiting": "cancelled",
        "task": "finished",
        "kept": "finished",
    }
    assert sorted(engine.made) == ["kept", "task"]
    dead._client.close()
    dead._fail_fast_client.close()


def test_a_cached_result_can_be_fetched_from_another_process(
    start_queue: StartQueue, queue: ClusterQueue, start_worker: StartWorker
) -> None:
    start_worker(OneModel())
    job = queue.submit(request("kept"))
    queue.cache_result(job)
    result = job.result()
    assert start_queue().cached_result(job.id) == result
    assert queue.cached_result("nobody") is None


def test_a_redis_that_stays_away_is_reported_as_unavailable_for_now(
    queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd_api.jobs.cluster.follower.MAX_OUTAGE_SECONDS", 0.5)
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    waiting = queue.submit(request("waiting"))
    task = queue.submit(request("task"), client="user:a", rejoin=True)
    assert engine.reported.wait(10)
    redis_server.kill()
    try:
        with pytest.raises(Unavailable, match="Redis"):
            waiting.result()
        with pytest.raises(Unavailable, match="Redis") as refusal:
            queue.jobs()
        assert refusal.value.retry_after is not None
        engine.may_go_on.set()
    finally:
        redis_server.start()
    assert task.result().images[0].png == b"task"
    assert queue.submit(request("new")).result().images[0].png == b"new"


def test_a_job_that_redis_has_lost_is_made_all_the_same(
    queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker
) -> None:
    kept = queue.submit(request("kept"))
    queue.cache_result(kept)
    jobs = [kept, queue.submit(request("waiting")), queue.submit(request("task"), client="user:a", rejoin=True)]
    redis_server.emptied()
    start_worker(OneModel())
    for job in jobs:
        assert job.result().images[0].png == job.spec.operation.prompt.encode()
    assert queue.cached_result(kept.id) == kept.result()


def test_a_full_redis_refuses_and_takes_more_once_there_is_room(
    queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    running = queue.submit(request("running"))
    wait_until(lambda: engine.made)
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(Unavailable, match="is full"):
                queue.submit(request())
            engine.may_go_on.set()
            wait_until(lambda: "Waiting for Redis" in caplog.text)
        finally:
            client.config_set("maxmemory", 0)
    assert running.result().images[0].png == b"running"
    assert queue.submit(request("new")).result().images[0].png == b"new"


def test_who_waits_gets_a_failure_where_there_is_no_worker(
    queue: ClusterQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = queue.submit(request(), client="user:a", rejoin=True)
    kept = queue.submit(request())
    queue.cache_result(kept)
    monkeypatch.setattr("sd_api.jobs.cluster.follower.MAX_OUTAGE_SECONDS", 0.0)
    waiting = queue.submit(request())
    with pytest.raises(Unavailable, match="No worker is running"):
        waiting.result()
    wait_until(lambda: queue.job(waiting.id).state == "cancelled")
    assert {queue.job(job.id).state for job in (task, kept)} == {"queued"}


def test_what_nobody_foresaw_does_not_end_the_following_of_jobs(
    queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker
) -> None:
    with redis_server.client() as client:
        wait_until(lambda: client.publish(f"sd:updates:{queue._id}", "no JSON"))
    start_worker(OneModel())
    assert queue.submit(request("new")).result().images[0].png == b"new"


def test_a_work_token_that_is_lost_is_replaced(
    queue: ClusterQueue, redis_server: RedisServer, start_worker: StartWorker
) -> None:
    engine = OneModel()
    engine.may_go_on.clear()
    start_worker(engine)
    jobs = [queue.submit(request(str(number))) for number in range(3)]
    wait_until(lambda: engine.made)
    with redis_server.client() as client:
        for key in client.scan_iter("sd:dramatiq*"):
            client.delete(key)
    engine.may_go_on.set()
    for job in jobs:
        job.result()


@pytest.mark.parametrize("operation", OPERATIONS.values())
def test_a_spec_arrives_as_it_was_sent(operation: type[Operation]) -> None:
    sent = asked(operation)
    arrived = codec.read_spec(as_read(codec.spec_fields(sent), *codec.SPEC_FIELDS), WIDE)
    assert arrived == sent


def test_a_result_arrives_as_it_was_sent() -> None:
    images = (GeneratedImage(b"\x89PNG\0", 1, True), GeneratedImage(b"", 2, False, 7, Placement(1, 2, 30, 40)))
    sent = GenerationResult(images, ("a", "b"))
    assert codec.read_result(as_read(codec.result_fields(sent))) == sent


def as_read(written: codec.Fields, *optional: str) -> dict[str, bytes | None]:
    texts = {name: value if isinstance(value, bytes) else str(value).encode() for name, value in written.items()}
    return {**dict.fromkeys(optional), **texts}


def every_error() -> list[type[ServerError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServerError)]
    # All but the one that belongs to the start of a process.
    return [kind for kind in kinds if kind is not errors.ConfigurationError]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_arrives_as_it_was_sent(kind: type[ServerError]) -> None:
    sent: Any
    if kind is InvalidFields:
        sent = kind([InvalidField("prompt", "is missing"), OutOfLimits("steps", "are too many")])
    else:
        sent = kind("steps", "are too many") if issubclass(kind, InvalidField) else kind("No.", 7)
    arrived = codec.read_error(codec.error_text(sent))
    assert type(arrived) is kind
    assert (arrived.message, arrived.retry_after, arrived.status) == (sent.message, sent.retry_after, sent.status)
    assert [(type(fault), fault.message) for fault in arrived.errors] == [
        (type(fault), fault.message) for fault in sent.errors
    ]


def test_no_lease_is_renewed_where_the_engine_is_stuck(start_worker: StartWorker) -> None:
    """Also not those of the jobs that were overtaken, whose clocks stand still."""

    def job(name: str, seconds: float, *, ended: bool = False) -> Any:
        return SimpleNamespace(claim=name, ended=ended, working_seconds=lambda: seconds)

    worker: Any = start_worker(OneModel())
    assert worker._renewed([job("overtaken", 0.5), job("running", 1.0), job("done", 1e6, ended=True)]) != []
    assert worker._renewed([job("overtaken", 0.5), job("stuck", 1e6)]) == []


def test_a_job_that_joins_begins_where_the_next_one_cannot_be_read() -> None:
    running, first = Job(request("running", steps=9)), Job(request("first"))

    def open_job(claim: worker_board.Claim) -> Any:
        if claim.job_id == "first":
            return first
        raise redis.ConnectionError

    feed: Any = ClaimFeed(
        [running],  # type: ignore[list-item]
        worker="",
        board=Joining(),  # type: ignore[arg-type]
        open_job=open_job,
        status=lambda: LOADING,
        begun=lambda _: None,
    )
    assert feed.poll(16, active=False) == [running]
    assert feed.poll(16, active=True) == [first]


class Joining:
    """A board on which two jobs may join, and Redis goes after it has said so."""

    queue_changes = b"1"

    def join(self, *_: Any, **__: Any) -> list[tuple[worker_board.Claim, bool]]:
        return [(worker_board.Claim("first", 1), False), (worker_board.Claim("second", 1), False)]


class Looked(Joining):
    """A board without jobs that counts how often the queues are looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def join(self, *_: Any, **__: Any) -> list[tuple[worker_board.Claim, bool]]:
        self.looks += 1
        return []


def test_the_queues_are_looked_at_only_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd_api.jobs.cluster.feed.RESERVATION", 0.0)
    looked, statuses = Looked(), []
    feed: Any = ClaimFeed(
        [Job(request("running", steps=9))],  # type: ignore[list-item]
        worker="",
        board=looked,  # type: ignore[arg-type]
        open_job=lambda _: None,
        status=lambda: statuses.append(1) or LOADING,  # type: ignore[func-returns-value]
        begun=lambda _: None,
    )
    feed.poll(16, active=False)
    # Twice after each change: a job that was reserved for another worker may join when that is over.
    for changes, looks in ((b"1", 1), (b"1", 2), (b"1", 2), (b"2", 3), (b"2", 4), (b"2", 4)):
        looked.queue_changes = changes
        feed.poll(16, active=True)
        assert looked.looks == len(statuses) == looks
    feed.poll(8, active=True)
    assert looked.looks == 5


def test_a_job_whose_outcome_waits_for_redis_answers_others() -> None:
    back, tried = threading.Event(), threading.Event()

    def end(*_: Any) -> bool:
        tried.set()
        if not back.wait(0.01):
            raise redis.ConnectionError
        return True

    job = ClaimedJob(
        worker_board.Claim("1", 1),
        request(),
        "client",
        (),
        10,
        device=None,
        reports=SimpleNamespace(),  # type: ignore[arg-type]
        outcomes=SimpleNamespace(end=end),  # type: ignore[arg-type]
        stopping=threading.Event(),
    )
    ending = threading.Thread(target=job.fail, args=(Unavailable("no"),))
    ending.start()
    assert tried.wait(10)
    job.listen(lambda _: None)
    assert (job.status().state, job.settled) == ("failed", False)
    back.set()
    job.settle()
    ending.join()
