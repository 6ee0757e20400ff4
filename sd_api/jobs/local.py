"""The queue of the one-process server: one thread, because a pipeline can do one thing at a time."""

import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sd_api.errors import QueueFull, ServerStopping, UnknownJob
from sd_api.generation.engine import Engine, EngineStatus
from sd_api.generation.request import GenerationRequest
from sd_api.jobs.fair_queue import FairQueue
from sd_api.jobs.host import EngineHost
from sd_api.jobs.job import Job, JobStatus, Listener
from sd_api.jobs.pace import Pace
from sd_api.jobs.queue import FIRST_GUESS_SECONDS, taken, why_full
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Limits

# So many jobs are still known after their end.
REMEMBERED = 256


class LocalQueue:
    """Runs jobs one at a time, on its own thread; see JobQueue.

    Args:
        make_engine: called once on that thread, so that the port can be open while torch is imported.
        loading: what ``status`` says until the engine is there.
        limits: how many jobs may wait, and how long one may take.
        listeners: are told of every change of every job.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        loading: EngineStatus,
        limits: Limits,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        self._host = EngineHost(make_engine, loading)
        self._started = time.time()
        self._limits = limits
        self._listeners = listeners
        self._waiting: FairQueue[Job] = FairQueue()
        self._running: list[Job] = []
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()
        self._pace = Pace()
        self._changed = threading.Condition()
        self._stopping = False
        # A daemon, so that a step that takes minutes does not keep a stopped process alive.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread: make the engine, load its model, then work."""
        self._thread.start()

    def submit(
        self, request: GenerationRequest, *, job_id: str | None = None, client: str = "", rejoin: bool = False
    ) -> Job:
        """See JobQueue."""
        job = Job(request, job_id=job_id, client=client, max_seconds=self._limits.max_job_seconds)
        for listener in self._listeners:
            job.listen(listener)
        with self._changed:
            if self._stopping:
                raise ServerStopping("The server is shutting down.")
            existing = self._find(job.id)
            if rejoin and existing is not None and existing.client == client:
                return existing
            if job.id in self._ended or existing is not None:
                raise taken(job.id)
            self._refuse_too_many(client)
            self._waiting.add(job)
            self._changed.notify()
        return job

    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        with self._changed:
            job = self._find(job_id)
            if job is None:
                return self._remembered(job_id)
            job.cancel(reason)
            if job not in self._running:
                self._waiting.remove(job)
                self._remember(job)
            return job.status()

    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """See JobQueue."""
        with self._changed:
            if preview and (job := self._find(job_id)) is not None:
                job.ask_preview()
            live = next((status for status in self._live() if status.id == job_id), None)
            return live or self._remembered(job_id)

    def jobs(self) -> list[JobStatus]:
        """See JobQueue."""
        with self._changed:
            return self._live()

    def status(self) -> EngineStatus:
        """See JobQueue."""
        return self._host.status()

    def workers(self) -> list[WorkerStatus]:
        """See JobQueue."""
        with self._changed:
            jobs = tuple(job.id for job in self._running if not job.ended)
        return [WorkerStatus(id="local", started=self._started, engine=self.status(), jobs=jobs)]

    def stop(self, timeout: float) -> bool:
        """End every job with ServerStopping, at once, and the thread at its next step.

        Args:
            timeout: seconds to wait for the thread.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._stopping = True
            jobs = [*self._running, *self._waiting]
            self._waiting = FairQueue()
            self._changed.notify()
        for job in jobs:
            job.fail(ServerStopping("The server is shutting down."))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _refuse_too_many(self, client: str) -> None:
        total, own = len(self._waiting), self._waiting.count(client)
        if total < self._limits.max_queued_requests and own < self._limits.max_queued_requests_per_client:
            return
        left = max((self._seconds_left(job) or 0 for job in self._running), default=0)
        raise QueueFull(why_full(total, own, self._limits), retry_after=max(1, math.ceil(left or FIRST_GUESS_SECONDS)))

    def _find(self, job_id: str) -> Job | None:
        return next((job for job in itertools.chain(self._running, self._waiting) if job.id == job_id), None)

    def _live(self) -> list[JobStatus]:
        """Everything that runs or waits, with its place and what is left for it."""
        statuses: list[JobStatus] = []
        left: float | None = 0.0
        for job in self._running:
            if not job.ended:
                left = self._seconds_left(job)
                statuses.append(replace(job.status(), seconds_left=left))
        for position, job in enumerate(self._waiting, start=1):
            own = self._pace.seconds(job.request.model, job.request.work)
            left = None if left is None or own is None else left + own
            statuses.append(replace(job.status(), position=position, seconds_left=left))
        return statuses

    def _seconds_left(self, job: Job) -> float | None:
        return self._pace.seconds_left(
            job.request.model, job.request.work, job.status().progress, job.working_seconds()
        )

    def _remember(self, job: Job) -> None:
        self._ended[job.id] = job.status()
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _remembered(self, job_id: str) -> JobStatus:
        # One that was stopped may still be in its last step.
        for job in self._running:
            if job.id == job_id:
                return job.status()
        if job_id not in self._ended:
            raise UnknownJob(
                f"There is no job {job_id[:100]!r}; of those that have ended, the last {REMEMBERED} are known."
            )
        return self._ended[job_id]

    def _work(self) -> None:
        self._host.start()
        while jobs := self._next_jobs():
            self._host.run(jobs)
            self._put_away(jobs)
            # Without this the last jobs' images would stay in memory until the next ones.
            del jobs

    def _next_jobs(self) -> list[Job]:
        """Wait for a job; with it come others that fit into one batch. Nothing once the queue is stopping."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) or self._stopping)
            if self._stopping:
                return []
            self._running = [self._waiting.take()]
            self._join(self._running[0].request, self._host.at_once())
            # A copy, because it is looked at outside the lock.
            return list(self._running)

    def _join(self, request: GenerationRequest, at_once: int) -> None:
        """Let waiting jobs run along where there is room in the batch; nobody waits longer for it."""
        room = at_once - len(request.seeds)
        for job in list(self._waiting):
            if job.request.batch_key == request.batch_key and len(job.request.seeds) <= room:
                self._waiting.remove(job)
                self._running.append(job)
                room -= len(job.request.seeds)

    def _put_away(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            finished = [job for job in jobs if job.status().state == "finished"]
            for job in finished:
                self._pace.learn(job.request.model, job.request.work, job.working_seconds() / len(finished))
            for job in jobs:
                self._remember(job)
            self._running = []
