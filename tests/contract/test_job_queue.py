"""What every JobQueue promises; each implementation is put through the same tests."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from requested import request
from small_cluster import SmallCluster

from sd_api import __version__
from sd_api.errors import (
    GenerationFailed,
    JobCancelled,
    JobIdTaken,
    JobNotWaiting,
    ModelUnavailable,
    OutOfMemory,
    QueueFull,
    ServerError,
    ServerStopping,
    UnknownJob,
)
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import Engine, EngineStatus, Feed, Progress, Run
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import Job
from sd_api.jobs.local import LocalQueue
from sd_api.jobs.queue import Forecast, JobQueue
from sd_api.settings import Limits

LOADING = EngineStatus("loading", "a model")
READY = EngineStatus(
    "ready", "a model", "cpu", "fp32", abilities={None: ModelAbilities(("txt2img",), size_multiple=8, native_size=None)}
)
LIMITS = Limits(max_queued_requests=4, max_queued_requests_per_client=3, max_job_seconds=30, max_request_bytes=15_000)


class StepByStep:
    """An engine whose every step waits for the test; what it draws is the seed."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.started: list[str] = []
        self.batches: list[int] = []
        self.room = 1
        self.error: Exception | None = None

    def load(self) -> None:
        pass

    def status(self) -> EngineStatus:
        return READY

    def at_once(self) -> int:
        return self.room

    def serve(self, feed: Feed) -> None:
        while runs := feed.poll(self.room, active=False) or feed.wait(self.room):
            self.generate(runs)

    def generate(self, runs: Sequence[Run]) -> None:
        self.started += [run.spec.operation.prompt for run in runs]
        self.batches.append(len(runs))
        steps = runs[0].spec.operation.steps
        alive = list(runs)
        for step in range(steps):
            assert self.steps.acquire(timeout=10)
            if self.error is not None:
                raise self.error
            alive = [run for run in alive if wants(run, Progress("denoising", step + 1, steps))]
            if not alive:
                return
            for run in [run for run in alive if run.stops_early]:
                run.finish(GenerationResult((GeneratedImage(b"", run.spec.seeds[0], False),)))
                alive.remove(run)
            if not alive:
                return
        for run in alive:
            seeds = run.spec.seeds
            run.finish(GenerationResult(tuple(GeneratedImage(str(seed).encode(), seed, False) for seed in seeds)))


def wants(run: Run, progress: Progress) -> bool:
    try:
        run.report(progress)
    except JobCancelled:
        return False
    return True


@pytest.fixture
def engine() -> StepByStep:
    return StepByStep()


MakeQueue = Callable[[Callable[[], Engine]], JobQueue]


@pytest.fixture(params=["one process", "a cluster"])
def make_queue(request: pytest.FixtureRequest) -> Iterator[MakeQueue]:
    queues: list[JobQueue] = []

    def make(make_engine: Callable[[], Engine]) -> JobQueue:
        if request.param == "one process":
            queues.append(LocalQueue(make_engine, LOADING, LIMITS))
        else:
            cluster = request.getfixturevalue("redis_server").emptied()
            queues.append(SmallCluster(cluster, make_engine, LOADING, LIMITS))
        queues[-1].start()
        return queues[-1]

    yield make
    for queue in queues:
        assert queue.stop(timeout=10)


@pytest.fixture
def queue(make_queue: MakeQueue, engine: StepByStep) -> Iterator[JobQueue]:
    yield make_queue(lambda: engine)
    engine.steps.release(1000)


def test_a_job_ends_with_its_result(queue: JobQueue, engine: StepByStep) -> None:
    job = queue.submit(request())
    engine.steps.release()
    assert job.result().images[0].seed == 7
    assert job.status().progress == Progress("denoising", 1, 1)
    assert job.status().state == "finished"


def test_jobs_run_in_the_order_in_which_they_came(queue: JobQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request(name)) for name in ("first", "second", "third")]
    engine.steps.release(3)
    for job in jobs:
        job.result()
    assert engine.started == ["first", "second", "third"]


def assert_soon(is_so: Callable[[], bool]) -> None:
    """Other machines tell how they are with their next heartbeat."""
    for _ in range(2000):
        if is_so():
            return
        threading.Event().wait(0.005)
    raise AssertionError


def wait_until_running(engine: StepByStep) -> None:
    while not engine.started:
        threading.Event().wait(0.005)


def test_a_full_queue_refuses_and_says_when_to_come_back(queue: JobQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request())]
    wait_until_running(engine)
    jobs += [queue.submit(request()) for _ in range(3)]
    with pytest.raises(QueueFull, match="3 of your requests are waiting") as refusal:
        queue.submit(request())
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after >= 1
    engine.steps.release(len(jobs))
    first, *others = [job.result() for job in jobs]
    assert others == [first] * len(others)
    engine.steps.release()
    assert queue.submit(request()).result()


def test_a_waiting_job_is_cancelled_at_once_and_makes_room(queue: JobQueue, engine: StepByStep) -> None:
    running = queue.submit(request("running"))
    wait_until_running(engine)
    waiting = [queue.submit(request("waiting")) for _ in range(3)]
    queue.cancel(waiting[1].id, "Not wanted.")
    with pytest.raises(JobCancelled):
        waiting[1].result()
    late = queue.submit(request("late"))
    engine.steps.release(4)
    for job in (running, waiting[0], waiting[2], late):
        job.result()
    assert engine.started == ["running", "waiting", "waiting", "late"]


def test_waiting_jobs_are_moved_among_those_of_their_owner(queue: JobQueue, engine: StepByStep) -> None:
    def waiting() -> list[str]:
        return [status.id for status in queue.jobs() if status.state == "queued"]

    running = queue.submit(request("running"), job_id="ann/running", client="ann")
    wait_until_running(engine)
    names = [("ann/1", "ann"), ("bob/1", "bob"), ("eve/1", "ann"), ("ann/2", "ann")]
    jobs = [queue.submit(request(name), job_id=name, client=client) for name, client in names]
    assert waiting() == ["bob/1", "ann/1", "eve/1", "ann/2"]
    # Eve's job, which is counted as of the same client, stays where it is.
    assert queue.move("ann/2").position == 2
    assert waiting() == ["bob/1", "ann/2", "eve/1", "ann/1"]
    queue.move("ann/2", after="ann/1")
    queue.move("ann/1", before="ann/2")
    assert waiting() == ["bob/1", "ann/1", "eve/1", "ann/2"]
    queue.move("ann/1", after="ann/2")
    for job_id, beside, error in (
        ("ann/running", None, JobNotWaiting),
        ("ann/1", "ann/running", JobNotWaiting),
        ("ann/1", "bob/1", JobNotWaiting),
        ("ann/1", "eve/1", JobNotWaiting),
        ("ann/3", None, UnknownJob),
        ("ann/1", "ann/3", UnknownJob),
    ):
        with pytest.raises(error):
            queue.move(job_id, before=beside)
    engine.steps.release(5)
    for job in (running, *jobs):
        job.result()
    assert engine.started == ["running", "bob/1", "ann/2", "eve/1", "ann/1"]


def test_a_running_job_is_cancelled_at_its_next_step(queue: JobQueue, engine: StepByStep) -> None:
    job = queue.submit(request(steps=100))
    engine.steps.release(5)
    while job.status().progress != Progress("denoising", 5, 100):
        threading.Event().wait(0.005)
    queue.cancel(job.id, "Not wanted.")
    engine.steps.release()
    with pytest.raises(JobCancelled):
        job.result()
    assert job.status().progress == Progress("denoising", 5, 100)
    engine.steps.release()
    assert queue.submit(request()).result()


def test_a_job_that_is_stopped_early_ends_with_what_there_is(queue: JobQueue, engine: StepByStep) -> None:
    job, waiting = (queue.submit(request(steps=100, seeds=(1, 2))) for _ in range(2))
    engine.steps.release(5)
    while job.status().progress != Progress("denoising", 5, 100):
        threading.Event().wait(0.005)
    for each in (job, waiting):
        queue.stop_early(each.id, "Not wanted.")
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        waiting.result()
    engine.steps.release()
    assert [image.seed for image in job.result().images] == [1]
    assert queue.job(job.id).state == "finished"
    engine.steps.release()
    last = queue.submit(request())
    assert last.result()


def test_cancelling_a_finished_job_changes_nothing(queue: JobQueue, engine: StepByStep) -> None:
    job = queue.submit(request())
    engine.steps.release()
    result = job.result()
    queue.cancel(job.id, "Not wanted.")
    assert job.result() == result
    engine.steps.release()
    assert queue.submit(request()).result()


@pytest.mark.parametrize("error", [OutOfMemory("No room."), GenerationFailed("It broke.")])
def test_an_engines_own_error_reaches_only_its_job(queue: JobQueue, engine: StepByStep, error: ServerError) -> None:
    engine.error = error
    job = queue.submit(request())
    engine.steps.release()
    with pytest.raises(type(error), match=error.message):
        job.result()
    engine.error = None
    engine.steps.release()
    assert queue.submit(request()).result()


def test_an_unforeseen_error_is_logged_whole_and_reported_by_its_id(
    queue: JobQueue, engine: StepByStep, caplog: pytest.LogCaptureFixture
) -> None:
    engine.error = ZeroDivisionError("a secret detail")
    job = queue.submit(request())
    engine.steps.release()
    with pytest.raises(GenerationFailed, match=r"error id [0-9a-f]{8}") as failure:
        job.result()
    assert "secret" not in failure.value.message
    assert "a secret detail" in caplog.text
    assert failure.value.message.split()[-1].rstrip(".") in caplog.text


def test_stopping_ends_every_job_at_once(queue: JobQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request()) for _ in range(3)]
    wait_until_running(engine)
    assert not queue.stop(timeout=0)
    for job in jobs:
        with pytest.raises(ServerStopping):
            job.result()
    with pytest.raises(ServerStopping):
        queue.submit(request())
    engine.steps.release()
    assert queue.stop(timeout=10)
    assert engine.started == ["a dog"]


def test_jobs_wait_while_the_engine_is_made(make_queue: MakeQueue, engine: StepByStep) -> None:
    may_be_made = threading.Event()

    def make_engine() -> Engine:
        may_be_made.wait(10)
        return engine

    queue = make_queue(make_engine)
    job = queue.submit(request())
    assert queue.status() == LOADING
    may_be_made.set()
    engine.steps.release()
    assert job.result()
    assert_soon(lambda: queue.status() == READY)


def test_an_engine_that_cannot_be_made_fails_every_job(make_queue: MakeQueue) -> None:
    def make_engine() -> Engine:
        raise ModelUnavailable("There is no such device.")

    queue = make_queue(make_engine)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="no such device"):
            queue.submit(request()).result()
    assert_soon(lambda: queue.status().state == "failed")
    assert queue.status().message == "There is no such device."


def test_an_engine_that_could_not_be_made_is_tried_again(make_queue: MakeQueue, engine: StepByStep) -> None:
    attempts = iter([ModelUnavailable("Not yet."), ModelUnavailable("Not yet."), None])

    def make_engine() -> Engine:
        if (error := next(attempts)) is not None:
            raise error
        return engine

    queue = make_queue(make_engine)
    with pytest.raises(ModelUnavailable, match="Not yet"):
        queue.submit(request()).result()
    engine.steps.release()
    assert queue.submit(request()).result()
    assert_soon(lambda: queue.status() == READY)


def test_many_clients_at_once_each_get_one_answer(queue: JobQueue, engine: StepByStep) -> None:
    engine.steps.release(50)

    def ask(number: int) -> str:
        try:
            queue.submit(request(str(number))).result()
        except QueueFull:
            return "refused"
        return "made"

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(ask, range(50)))
    assert answers.count("made") == len(engine.started) == len(set(engine.started))
    assert answers.count("made") + answers.count("refused") == 50


def test_a_queue_full_of_others_jobs_refuses_too(queue: JobQueue, engine: StepByStep) -> None:
    queue.submit(request())
    wait_until_running(engine)
    for client in ("first", "second"):
        for _ in range(2):
            queue.submit(request(), client=client)
    with pytest.raises(QueueFull, match="4 requests are waiting already"):
        queue.submit(request(), client="third")


def test_images_of_waiting_jobs_have_a_limit_of_memory(queue: JobQueue, engine: StepByStep) -> None:
    # The file is noise, so that it is as large as its pixels; a client may have two of these.
    image = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    large = request(image=image, strength=1.0)
    jobs = [queue.submit(large, client="a")]
    wait_until_running(engine)
    jobs.append(queue.submit(large, client="a"))
    assert jobs[0].spec.memory > 2 * 64 * 64 * 3
    with pytest.raises(QueueFull, match=r"images of your waiting requests take [0-9,]+ bytes") as refusal:
        queue.submit(large, client="a")
    assert refusal.value.retry_after is not None
    queue.cancel(queue.submit(request(), client="a").id, "A job without images is always taken.")
    jobs += [queue.submit(large, client="b") for _ in range(2)]
    with pytest.raises(QueueFull, match="images of all waiting requests"):
        queue.submit(large, client="c")
    engine.steps.release(100)
    for job in jobs:
        job.result()
    assert_soon(lambda: not queue.jobs())
    assert queue.submit(large, client="c").result()


def test_clients_are_served_round_robin(queue: JobQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request("running"), client="first")]
    wait_until_running(engine)
    jobs += [queue.submit(request(f"first {number}"), client="first") for number in range(2)]
    jobs += [queue.submit(request(f"second {number}"), client="second") for number in range(2)]
    assert [job.position for job in queue.jobs()] == [None, 1, 2, 3, 4]
    by_id = {job.id: job.spec.operation.prompt for job in jobs}
    expected = ["running", "second 0", "first 0", "second 1", "first 1"]
    assert [by_id[job.id] for job in queue.jobs()] == expected
    engine.steps.release(5)
    for job in jobs:
        job.result()
    assert engine.started == expected


def test_the_programs_of_a_client_take_turns_and_share_its_limit(queue: JobQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request("running"))]
    wait_until_running(engine)
    jobs += [queue.submit(request(name), client="a", program=name[0]) for name in ("s 1", "s 2", "t 1")]
    with pytest.raises(QueueFull, match="3 of your requests are waiting"):
        queue.submit(request("u 1"), client="a", program="u")
    # Tasks are counted elsewhere.
    jobs.append(queue.submit(request("task"), client="a", rejoin=True))
    engine.steps.release(5)
    for job in jobs:
        job.result()
    assert engine.started == ["running", "s 1", "t 1", "task", "s 2"]


def test_a_job_is_known_from_its_acceptance_till_after_its_end(queue: JobQueue, engine: StepByStep) -> None:
    running = queue.submit(request(steps=2), job_id="mine", client="a", program="p", dialect="plugin")
    waiting = queue.submit(request())
    wait_until_running(engine)
    assert queue.job("mine").state == "running"
    assert queue.job(waiting.id).state == "queued"
    assert [job.id for job in queue.jobs()] == ["mine", waiting.id]
    assert [(job.client, job.program, job.dialect) for job in queue.jobs()] == [("a", "p", "plugin"), ("", "", "")]
    engine.steps.release(3)
    assert running.result()
    assert waiting.result()
    while queue.jobs():
        threading.Event().wait(0.005)
    ended = queue.job("mine")
    assert (ended.state, ended.message) == ("finished", None)
    assert ended.started is not None
    assert ended.ended is not None
    assert ended.created <= ended.started <= ended.ended


def test_what_is_left_is_estimated_once_a_job_has_been_timed(queue: JobQueue, engine: StepByStep) -> None:
    first = queue.submit(request())
    assert queue.job(first.id).seconds_left is None
    engine.steps.release()
    first.result()
    running, waiting = queue.submit(request(steps=4)), queue.submit(request())
    engine.steps.release(2)
    while running.status().progress != Progress("denoising", 2, 4):
        threading.Event().wait(0.005)
    left = queue.job(running.id).seconds_left
    until_all = queue.job(waiting.id).seconds_left
    assert left is not None
    assert until_all is not None
    assert 0 < left < until_all
    # A third one would begin when both are done, and takes as long as the first.
    forecast = queue.forecast(request())
    assert forecast.duration is not None
    assert forecast.wait is not None
    # Milliseconds, which have gone on meanwhile.
    assert until_all / 4 < forecast.wait < until_all * 4
    assert forecast.duration.least < forecast.duration.expected < forecast.duration.most


def test_without_measured_jobs_there_is_no_forecast_but_that_an_idle_engine_begins_at_once(
    queue: JobQueue, engine: StepByStep
) -> None:
    assert queue.forecast(request()) == Forecast(duration=None, wait=0.0)
    queue.submit(request())
    wait_until_running(engine)
    assert queue.forecast(request()) == Forecast(duration=None, wait=None)


def test_an_id_names_one_job_only(queue: JobQueue, engine: StepByStep) -> None:
    job = queue.submit(request(), job_id="mine")
    with pytest.raises(JobIdTaken, match="'mine' is taken"):
        queue.submit(request(), job_id="mine")
    engine.steps.release()
    job.result()
    with pytest.raises(JobIdTaken):
        queue.submit(request(), job_id="mine")


def test_a_job_that_runs_or_waits_can_be_rejoined_by_its_client(queue: JobQueue, engine: StepByStep) -> None:
    first = queue.submit(request("first"), job_id="mine", client="me")
    again = queue.submit(request("first"), job_id="mine", client="me", rejoin=True)
    with pytest.raises(JobIdTaken):
        queue.submit(request("other"), job_id="mine", client="you", rejoin=True)
    engine.steps.release()
    assert again.result() == first.result()
    assert engine.started == ["first"]
    engine.steps.release()
    assert queue.submit(request("new"), job_id="new", client="me", rejoin=True).result()


def test_the_queue_lists_the_workers_and_their_jobs(queue: JobQueue, engine: StepByStep) -> None:
    job = queue.submit(request())
    wait_until_running(engine)
    (worker,) = queue.workers()
    assert worker.jobs == (job.id,)
    assert worker.engine == READY
    assert worker.version == __version__
    engine.steps.release()
    job.result()


def test_a_job_that_never_was_is_unknown(queue: JobQueue) -> None:
    with pytest.raises(UnknownJob, match="no job 'nobody'"):
        queue.job("nobody")
    with pytest.raises(UnknownJob):
        queue.cancel("nobody", "Not wanted.")


def test_cancelling_hits_the_named_job_only_and_tells_why(queue: JobQueue, engine: StepByStep) -> None:
    running = queue.submit(request(steps=2))
    others = [queue.submit(request()) for _ in range(2)]
    wait_until_running(engine)
    assert queue.cancel(running.id, "Not wanted.").state == "cancelled"
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        running.result()
    assert [job.id for job in queue.jobs()] == [job.id for job in others]
    assert queue.job(running.id).message == "Not wanted."
    engine.steps.release(3)
    for job in others:
        assert job.result()


def test_compatible_jobs_join_one_batch_where_there_is_room(queue: JobQueue, engine: StepByStep) -> None:
    engine.room = 3
    first = queue.submit(request("first", steps=2))
    wait_until_running(engine)
    alike = [queue.submit(request(f"alike {number}", steps=2)) for number in range(2)]
    other = queue.submit(request("other", size=(72, 64)))
    late = queue.submit(request("late", steps=2), client="late")
    engine.steps.release(2)
    first.result()
    while len(engine.started) < 4:
        threading.Event().wait(0.005)
    # The newcomer's turn is first, and those that it can be made with run along; what differs waits.
    assert engine.batches == [1, 3]
    assert sorted(engine.started[1:]) == ["alike 0", "alike 1", "late"]
    queue.cancel(alike[0].id, "Not wanted.")
    engine.steps.release(3)
    for job in (alike[1], late, other):
        assert job.result()
    with pytest.raises(JobCancelled):
        alike[0].result()


def test_an_engine_that_forgets_a_job_does_not_leave_it_waiting(queue: JobQueue, engine: StepByStep) -> None:
    engine.generate = lambda runs: None  # type: ignore[method-assign]
    with pytest.raises(GenerationFailed, match="without a result"):
        queue.submit(request()).result()


class Interleaving(StepByStep):
    """An engine that asks for more at each step, and works on what came last, as the real one does.

    Attributes:
        trace: The prompt of each step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trace: list[str] = []
        self._steps: dict[Run, int] = {}

    def serve(self, feed: Feed) -> None:
        active: list[Run] = []
        while runs := feed.poll(self.room, active=bool(active)) or (() if active else feed.wait(self.room)) or active:
            active += [run for run in runs if run not in active]
            self.started += [run.spec.operation.prompt for run in runs if run not in self._steps]
            assert self.steps.acquire(timeout=10)
            lead = active[-1]
            others = [run for run in active[:-1] if run.spec.batch_key == lead.spec.batch_key]
            for run in [lead, *others][: self.room]:
                if not self._step(run):
                    active.remove(run)

    def _step(self, run: Run) -> bool:
        self.trace.append(run.spec.operation.prompt)
        step = self._steps[run] = self._steps.get(run, 0) + 1
        steps = run.spec.operation.steps
        if not wants(run, Progress("denoising", step, steps)):
            return False
        if step == steps:
            run.finish(GenerationResult((GeneratedImage(b"", run.spec.seeds[0], False),)))
        return step < steps


@pytest.fixture
def interleaving() -> Interleaving:
    return Interleaving()


@pytest.fixture
def busy(make_queue: MakeQueue, interleaving: Interleaving) -> Iterator[tuple[JobQueue, Job]]:
    """A queue whose engine has made the first of 20 steps of a job."""
    queue = make_queue(lambda: interleaving)
    job = queue.submit(request("long", steps=20), client="long")
    interleaving.steps.release()
    while job.status().progress != Progress("denoising", 1, 20):
        threading.Event().wait(0.005)
    yield queue, job
    interleaving.steps.release(1000)


def finish(engine: StepByStep, *jobs: Job) -> None:
    engine.steps.release(1000)
    for job in jobs:
        job.result()


def test_a_short_job_overtakes_a_long_one_at_its_next_step(
    busy: tuple[JobQueue, Job], interleaving: Interleaving
) -> None:
    queue, long = busy
    # Of the same client as well.
    short = queue.submit(request("short", steps=3), client="long")
    finish(interleaving, short, long)
    first = interleaving.trace.index("short")
    assert first <= 2
    assert interleaving.trace[first : first + 3] == ["short"] * 3
    assert interleaving.trace.count("long") == 20


def test_a_job_that_is_not_much_shorter_waits(busy: tuple[JobQueue, Job], interleaving: Interleaving) -> None:
    queue, long = busy
    other = queue.submit(request("other", steps=12), client="other")
    finish(interleaving, other, long)
    assert interleaving.trace == ["long"] * 20 + ["other"] * 12


def test_overtaking_is_bounded_by_the_work_of_who_waits(busy: tuple[JobQueue, Job], interleaving: Interleaving) -> None:
    queue, long = busy
    short = [queue.submit(request("short", steps=7), client=f"client {number}") for number in range(4)]
    finish(interleaving, *short, long)
    # Two of them are as much work as it accepts; the others come after it.
    last = len(interleaving.trace) - 1 - interleaving.trace[::-1].index("long")
    assert interleaving.trace[: last + 1].count("short") == 14, interleaving.trace


def test_jobs_that_share_forwards_join_at_the_next_step(make_queue: MakeQueue, interleaving: Interleaving) -> None:
    interleaving.room = 2
    queue = make_queue(lambda: interleaving)
    jobs = [queue.submit(request("first", steps=20))]
    interleaving.steps.release()
    while interleaving.trace != ["first"]:
        threading.Event().wait(0.005)
    # Other steps and prompts make no difference; another size does.
    jobs.append(queue.submit(request("second", steps=18)))
    jobs.append(queue.submit(request("third", steps=19, size=(72, 64))))
    finish(interleaving, *jobs)
    assert "second" in interleaving.trace[1:5]
    assert interleaving.trace.index("third") > 20
