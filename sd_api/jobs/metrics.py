"""What is measured of jobs and of the queue, for Prometheus: counts and times, nothing of who asked or for what.

Labels have few values: models that only a task named are all called ``other``, because a client could name any number.
"""

import threading
import time
from collections import Counter as Count
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sd_api.generation.engine import ModelMemory, Progress
from sd_api.jobs.job import ENDED, Job, JobStatus
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.workers import WorkerStatus

OTHER = "other"

# Upper edges in seconds: from an idle queue to the longest job, and from a fast card to a slow processor.
JOB_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
STEP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

ModelNames = Mapping[str | None, str]
"""How the configured models are called in labels, by the name that requests have for them; None is the main one."""


def build_registry(queue: JobQueue, jobs: "JobMetrics", names: ModelNames) -> CollectorRegistry:
    """Make the registry of a process: its jobs, the queue, and the process itself.

    Args:
        queue: is asked how it is at each reading.
        jobs: the listener of that queue's jobs.
        names: of the configured models.
    """
    registry = CollectorRegistry()
    registry.register(jobs)
    registry.register(QueueMetrics(queue, names))
    # Memory, processor time and open files, on platforms that provide them.
    ProcessCollector(registry=registry)
    return registry


class JobMetrics(Collector):
    """A listener of jobs that counts what becomes of them and how long it takes.

    Args:
        names: of the configured models.
    """

    def __init__(self, names: ModelNames) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._running: dict[str, _Step] = {}
        kinds = ("mode", "model")
        self._ended = Counter("sd_jobs", "Jobs that have ended.", (*kinds, "state"), registry=None)
        self._pictures = Counter("sd_pictures", "Pictures of finished jobs.", kinds, registry=None)
        self._waits = Histogram(
            "sd_job_wait_seconds", "From accepting a job to its start.", kinds, buckets=JOB_BUCKETS, registry=None
        )
        self._runs = Histogram(
            "sd_job_run_seconds",
            "From the start of a finished job to its end, loading included.",
            kinds,
            buckets=JOB_BUCKETS,
            registry=None,
        )
        self._steps = Histogram(
            "sd_step_seconds",
            "One denoising step of a job, of all its pictures that are made at once.",
            kinds,
            buckets=STEP_BUCKETS,
            registry=None,
        )

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        for metric in (self._ended, self._pictures, self._waits, self._runs, self._steps):
            yield from metric.collect()

    def __call__(self, job: Job) -> None:
        """Take note of a job after a change."""
        status = job.status()
        labels = (status.mode, _label(self._names, status.model))
        with self._lock:
            if status.id not in self._running and status.started is not None:
                self._waits.labels(*labels).observe(max(0.0, status.started - status.created))
            if status.state in ENDED:
                self._running.pop(status.id, None)
            else:
                self._take_step(status, labels)
        if status.state in ENDED:
            self._ended.labels(*labels, status.state).inc()
        if status.state == "finished" and status.started is not None and status.ended is not None:
            self._runs.labels(*labels).observe(max(0.0, status.ended - status.started))
            self._pictures.labels(*labels).inc(len(job.spec.seeds))

    def _take_step(self, status: JobStatus, labels: tuple[str, str]) -> None:
        before = self._running.get(status.id)
        now = self._running[status.id] = _Step(status.progress, time.monotonic())
        if before is not None and _one_step(before.progress, now.progress):
            self._steps.labels(*labels).observe(now.at - before.at)


class QueueMetrics(Collector):
    """Reads the state of the queue and of the engines behind it at each scrape.

    Args:
        queue: is asked.
        names: of the configured models.
    """

    def __init__(self, queue: JobQueue, names: ModelNames) -> None:
        self._queue = queue
        self._names = names

    def describe(self) -> Iterable[Metric]:
        """See Collector; returns nothing, so that registering does not call the queue."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield from self._of_jobs(self._queue.jobs())
        yield from self._of_workers(self._queue.workers())

    def _of_jobs(self, jobs: list[JobStatus]) -> Iterator[Metric]:
        counted = Count((job.state, _label(self._names, job.model)) for job in jobs)
        alive = GaugeMetricFamily("sd_queue_jobs", "Jobs that wait or run now.", labels=("state", "model"))
        for state in ("queued", "running"):
            for model in sorted({*self._names.values(), OTHER}):
                alive.add_metric((state, model), counted[state, model])
        yield alive
        waiting = [job.created for job in jobs if job.state == "queued"]
        yield GaugeMetricFamily(
            "sd_queue_oldest_wait_seconds",
            "How long the job that has waited longest is waiting; 0 where none does.",
            max(0.0, time.time() - min(waiting)) if waiting else 0.0,
        )

    def _of_workers(self, workers: list[WorkerStatus]) -> Iterator[Metric]:
        states = Count(worker.engine.state for worker in workers)
        alive = GaugeMetricFamily(
            "sd_workers", "Engines that are alive, by whether their main model is there.", labels=("state",)
        )
        for state in ("loading", "ready", "failed"):
            alive.add_metric((state,), states[state])
        yield alive
        memory = GaugeMetricFamily(
            "sd_device_memory_bytes",
            "The memory of graphics cards, whichever program uses it.",
            labels=("host", "device", "state"),
        )
        # By the card: several workers may share one, and a series may come once only.
        cards = {(worker.host, worker.engine.device or ""): worker.engine.memory for worker in workers}
        for place, found in cards.items():
            if found is not None:
                memory.add_metric((*place, "free"), found.free)
                memory.add_metric((*place, "used"), found.total - found.free)
        yield memory
        yield from self._of_models([model for worker in workers for model in worker.engine.models])

    def _of_models(self, models: list[ModelMemory]) -> Iterator[Metric]:
        known = set(self._names.values())
        holders, sizes, seconds = Count[tuple[str, str]](), Count[tuple[str, str]](), dict[str, float]()
        for model in models:
            name = model.model if model.model in known else OTHER
            place = (name, "device" if model.on_device else "host")
            holders[place] += 1
            sizes[place] += model.bytes
            seconds[name] = max(seconds.get(name, 0.0), model.load_seconds)
        counted = GaugeMetricFamily(
            "sd_model_loaded", "How often each model is loaded, and where it is.", labels=("model", "place")
        )
        size = GaugeMetricFamily(
            "sd_model_bytes", "The weights of the models that are loaded.", labels=("model", "place")
        )
        for labels, count in holders.items():
            counted.add_metric(labels, count)
            size.add_metric(labels, sizes[labels])
        loading = GaugeMetricFamily(
            "sd_model_load_seconds",
            "How long loading a model took, its download included; the longest where several engines have it.",
            labels=("model",),
        )
        for name, took in seconds.items():
            loading.add_metric((name,), took)
        yield from (counted, size, loading)


@dataclass(frozen=True)
class _Step:
    """The last report of a job, and when it came by the clock that only goes forward."""

    progress: Progress | None
    at: float


def _one_step(before: Progress | None, now: Progress | None) -> bool:
    """Whether what lies between two reports is one denoising step; earlier work is reported as step 0."""
    return before is not None and now is not None and before.phase == "denoising" and now.step > before.step


def _label(names: ModelNames, model: str | None) -> str:
    return names.get(model, OTHER)
