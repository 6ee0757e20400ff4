"""What is counted of jobs, and that nobody can make the counters many."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from requested import request

from sd_api.errors import OutOfMemory
from sd_api.generation.engine import DeviceMemory, EngineStatus, ModelMemory, Progress
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.local import LocalQueue
from sd_api.jobs.metrics import OTHER, JobMetrics, QueueMetrics, build_registry
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Limits

NAMES = {None: "main", "mine": "My Model"}
PICTURE = GenerationResult((GeneratedImage(b"", 7, nsfw=False),))
TXT2IMG = {"mode": "txt2img", "model": "main"}


@pytest.fixture
def jobs() -> JobMetrics:
    return JobMetrics(NAMES)


@pytest.fixture
def registry(jobs: JobMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(jobs)
    return registry


def listened(jobs: JobMetrics, model: str | None = None) -> Job:
    job = Job(replace(request(steps=3), model=model, limits=Limits()))
    job.listen(jobs)
    return job


def run(job: Job, *progress: Progress) -> None:
    job.start()
    for step in progress:
        job.report(step)
    job.finish(PICTURE)


def test_a_finished_job_is_counted_with_its_times(jobs: JobMetrics, registry: CollectorRegistry) -> None:
    run(listened(jobs), Progress("loading"), Progress("denoising", 1, 3), Progress("denoising", 2, 3))
    assert registry.get_sample_value("sd_jobs_total", {**TXT2IMG, "state": "finished"}) == 1
    assert registry.get_sample_value("sd_pictures_total", TXT2IMG) == 1
    assert registry.get_sample_value("sd_job_wait_seconds_count", TXT2IMG) == 1
    assert registry.get_sample_value("sd_job_run_seconds_count", TXT2IMG) == 1


def test_steps_are_timed_without_what_lies_between_passes(jobs: JobMetrics, registry: CollectorRegistry) -> None:
    # Two pictures, one after the other: three steps each, of which the first prepares and the last begins decoding.
    steps = [Progress("decoding" if step in (3, 6) else "denoising", step, 6) for step in range(1, 7)]
    run(listened(jobs), Progress("loading"), *steps)
    assert registry.get_sample_value("sd_step_seconds_count", TXT2IMG) == 4


def test_steps_that_are_run_again_are_not_timed_from_the_failed_ones(
    jobs: JobMetrics, registry: CollectorRegistry
) -> None:
    run(listened(jobs), *(Progress("denoising", step, 9) for step in (2, 4, 1, 2)))
    assert registry.get_sample_value("sd_step_seconds_count", TXT2IMG) == 2


def test_failed_and_cancelled_jobs_are_counted_apart(jobs: JobMetrics, registry: CollectorRegistry) -> None:
    listened(jobs).cancel("enough")
    failed = listened(jobs)
    failed.start()
    failed.fail(OutOfMemory("too large"))
    for state in ("cancelled", "failed"):
        assert registry.get_sample_value("sd_jobs_total", {**TXT2IMG, "state": state}) == 1
    assert registry.get_sample_value("sd_job_wait_seconds_count", TXT2IMG) == 1, "one of them never began"
    assert registry.get_sample_value("sd_job_run_seconds_count", TXT2IMG) is None


def test_models_that_clients_name_share_one_label(jobs: JobMetrics, registry: CollectorRegistry) -> None:
    for number in range(20):
        run(listened(jobs, f"huggingface:somebody/model-{number}"))
    run(listened(jobs, "mine"))
    models = {sample.labels["model"] for metric in registry.collect() for sample in metric.samples}
    assert models == {OTHER, "My Model"}
    assert registry.get_sample_value("sd_pictures_total", {"mode": "txt2img", "model": OTHER}) == 20


class Fixed:
    """A queue that says what it was given."""

    def __init__(self, jobs: Sequence[JobStatus], *engines: EngineStatus) -> None:
        self.jobs = lambda: list(jobs)
        self.workers = lambda: [WorkerStatus(id="", started=0, engine=engine, host="here") for engine in engines]


def registry_of(queue: Fixed) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(QueueMetrics(queue, NAMES))  # type: ignore[arg-type]
    return registry


def test_the_queue_is_counted_by_state_and_model() -> None:
    waiting = [Job(replace(request(), model=model, limits=Limits())) for model in (None, "mine", "huggingface:a/b")]
    running = listened(JobMetrics(NAMES))
    running.start()
    value = registry_of(Fixed([job.status() for job in (running, *waiting)])).get_sample_value
    for model in ("main", "My Model", OTHER):
        assert value("sd_queue_jobs", {"state": "queued", "model": model}) == 1
    assert value("sd_queue_jobs", {"state": "running", "model": "main"}) == 1
    oldest = value("sd_queue_oldest_wait_seconds")
    assert oldest is not None
    assert 0 < oldest < 600


def test_workers_are_counted_with_what_they_hold() -> None:
    main = ModelMemory("main", 100, on_device=True, load_seconds=2.5)
    unlisted = (
        ModelMemory("a/b", 10, on_device=False, load_seconds=1.0),
        ModelMemory("c/d", 5, on_device=False, load_seconds=1.5),
    )
    card = EngineStatus("ready", "main", "cuda:0", models=(main, *unlisted), memory=DeviceMemory(total=80, free=30))
    processor = EngineStatus("ready", "main", "cpu", models=(replace(main, load_seconds=4.0),))
    value = registry_of(Fixed([], card, processor, EngineStatus("loading", "main"))).get_sample_value
    assert [value("sd_workers", {"state": state}) for state in ("loading", "ready", "failed")] == [1, 2, 0]
    place = {"host": "here", "device": "cuda:0"}
    assert [value("sd_device_memory_bytes", {**place, "state": state}) for state in ("free", "used")] == [30, 50]
    assert value("sd_model_loaded", {"model": "main", "place": "device"}) == 2
    assert value("sd_model_bytes", {"model": "main", "place": "device"}) == 200
    assert value("sd_model_bytes", {"model": OTHER, "place": "host"}) == 15
    assert value("sd_model_load_seconds", {"model": "main"}) == 4.0


def test_two_workers_on_one_card_are_one_series() -> None:
    card = EngineStatus("ready", "main", "cuda:0", memory=DeviceMemory(total=80, free=30))
    (memory,) = (metric for metric in QueueMetrics(Fixed([], card, card), NAMES).collect() if "device" in metric.name)  # type: ignore[arg-type]
    assert [sample.labels["state"] for sample in memory.samples] == ["free", "used"]


def test_each_process_has_a_registry_of_its_own() -> None:
    def queue() -> LocalQueue:
        loading = EngineStatus("loading", "main")
        return LocalQueue(make_engine=lambda: pytest.fail("not started"), loading=loading, limits=Limits())

    one, other = (build_registry(queue(), JobMetrics(NAMES), NAMES) for _ in range(2))
    assert one.get_sample_value("sd_workers", {"state": "loading"}) == 1
    assert other.get_sample_value("sd_queue_oldest_wait_seconds") == 0
