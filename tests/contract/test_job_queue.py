"""What every JobQueue promises; each implementation is put through the same tests."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sd_api.errors import (
    GenerationFailed,
    JobCancelled,
    ModelUnavailable,
    OutOfMemory,
    QueueFull,
    ServerError,
    ServerStopping,
)
from sd_api.generation.engine import Engine, EngineStatus, OnProgress, Progress
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.local import LocalQueue
from sd_api.settings import Limits

LOADING = EngineStatus("loading", "a model")
READY = EngineStatus("ready", "a model", "cpu", "fp32")
MAX_WAITING = 3


class StepByStep:
    """An engine whose every step waits for the test; what it draws is the seed."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.started: list[str] = []
        self.error: Exception | None = None

    def load(self) -> None:
        pass

    def status(self) -> EngineStatus:
        return READY

    def generate(self, request: GenerationRequest, on_progress: OnProgress) -> GenerationResult:
        self.started.append(request.prompt)
        for step in range(request.num_inference_steps):
            assert self.steps.acquire(timeout=10)
            if self.error is not None:
                raise self.error
            on_progress(Progress("denoising", step + 1, request.num_inference_steps))
        return GenerationResult(tuple(GeneratedImage(str(seed).encode(), seed, False) for seed in request.seeds))


def request(prompt: str = "a dog", steps: int = 1) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        seeds=(7,),
        width=64,
        height=64,
        num_inference_steps=steps,
        guidance_scale=7.5,
        limits=Limits(),
    )


@pytest.fixture
def engine() -> StepByStep:
    return StepByStep()


MakeQueue = Callable[[Callable[[], Engine]], LocalQueue]


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
    queues: list[LocalQueue] = []

    def make(make_engine: Callable[[], Engine]) -> LocalQueue:
        queues.append(LocalQueue(make_engine, LOADING, MAX_WAITING))
        queues[-1].start()
        return queues[-1]

    yield make
    for queue in queues:
        assert queue.stop(timeout=10)


@pytest.fixture
def queue(make_queue: MakeQueue, engine: StepByStep) -> Iterator[LocalQueue]:
    yield make_queue(lambda: engine)
    engine.steps.release(1000)


def test_a_job_ends_with_its_result(queue: LocalQueue, engine: StepByStep) -> None:
    job = queue.submit(request())
    engine.steps.release()
    assert job.result().images[0].seed == 7
    assert job.progress == Progress("denoising", 1, 1)


def test_jobs_run_in_the_order_in_which_they_came(queue: LocalQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request(name)) for name in ("first", "second", "third")]
    engine.steps.release(3)
    for job in jobs:
        job.result()
    assert engine.started == ["first", "second", "third"]


def wait_until_running(engine: StepByStep) -> None:
    while not engine.started:
        threading.Event().wait(0.005)


def test_a_full_queue_refuses_and_says_when_to_come_back(queue: LocalQueue, engine: StepByStep) -> None:
    jobs = [queue.submit(request())]
    wait_until_running(engine)
    jobs += [queue.submit(request()) for _ in range(MAX_WAITING)]
    with pytest.raises(QueueFull, match="3 requests are waiting") as refusal:
        queue.submit(request())
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after >= 1
    engine.steps.release(len(jobs))
    assert len({job.result() for job in jobs}) == 1
    engine.steps.release()
    assert queue.submit(request()).result()


def test_a_waiting_job_is_cancelled_at_once_and_makes_room(queue: LocalQueue, engine: StepByStep) -> None:
    running = queue.submit(request("running"))
    wait_until_running(engine)
    waiting = [queue.submit(request("waiting")) for _ in range(MAX_WAITING)]
    queue.cancel(waiting[1])
    with pytest.raises(JobCancelled):
        waiting[1].result()
    late = queue.submit(request("late"))
    engine.steps.release(MAX_WAITING + 1)
    for job in (running, waiting[0], waiting[2], late):
        job.result()
    assert engine.started == ["running", "waiting", "waiting", "late"]


def test_a_running_job_is_cancelled_at_its_next_step(queue: LocalQueue, engine: StepByStep) -> None:
    job = queue.submit(request(steps=100))
    engine.steps.release(5)
    while job.progress != Progress("denoising", 5, 100):
        threading.Event().wait(0.005)
    queue.cancel(job)
    engine.steps.release()
    with pytest.raises(JobCancelled):
        job.result()
    assert job.progress == Progress("denoising", 5, 100)
    engine.steps.release()
    assert queue.submit(request()).result()


def test_cancelling_a_finished_job_changes_nothing(queue: LocalQueue, engine: StepByStep) -> None:
    job = queue.submit(request())
    engine.steps.release()
    result = job.result()
    queue.cancel(job)
    assert job.result() == result
    engine.steps.release()
    assert queue.submit(request()).result()


@pytest.mark.parametrize("error", [OutOfMemory("No room."), GenerationFailed("It broke.")])
def test_an_engines_own_error_reaches_only_its_job(queue: LocalQueue, engine: StepByStep, error: ServerError) -> None:
    engine.error = error
    job = queue.submit(request())
    engine.steps.release()
    with pytest.raises(type(error), match=error.message):
        job.result()
    engine.error = None
    engine.steps.release()
    assert queue.submit(request()).result()


def test_an_unforeseen_error_is_logged_whole_and_told_by_its_id(
    queue: LocalQueue, engine: StepByStep, caplog: pytest.LogCaptureFixture
) -> None:
    engine.error = ZeroDivisionError("a secret detail")
    job = queue.submit(request())
    engine.steps.release()
    with pytest.raises(GenerationFailed, match=r"error id [0-9a-f]{8}") as failure:
        job.result()
    assert "secret" not in failure.value.message
    assert "a secret detail" in caplog.text
    assert failure.value.message.split()[-1].rstrip(".") in caplog.text


def test_stopping_ends_every_job_at_once(queue: LocalQueue, engine: StepByStep) -> None:
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
    assert queue.status() == READY


def test_an_engine_that_cannot_be_made_is_told_to_every_job(make_queue: MakeQueue) -> None:
    def make_engine() -> Engine:
        raise ModelUnavailable("There is no such device.")

    queue = make_queue(make_engine)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="no such device"):
            queue.submit(request()).result()
    assert queue.status().state == "failed"
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
    assert queue.status() == READY


def test_many_clients_at_once_each_get_one_answer(queue: LocalQueue, engine: StepByStep) -> None:
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
