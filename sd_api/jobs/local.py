"""The job queue of one process: a thread owns the engine, which asks this queue for jobs at each step boundary."""

import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from sd_api.errors import QueueFull, ServerStopping, UnknownJob
from sd_api.generation.engine import Duration, Engine, EngineStatus
from sd_api.generation.spec import JobSpec
from sd_api.jobs.dispatch import Dispatcher
from sd_api.jobs.engine_thread import EngineThread
from sd_api.jobs.job import Job, JobStatus, Listener
from sd_api.jobs.queue import (
    FIRST_GUESS_SECONDS,
    Forecast,
    not_together,
    not_waiting,
    planned,
    refuse_too_large,
    taken,
    why_full,
)
from sd_api.jobs.work_rates import NOTHING_KNOWN, JobKind, Timing, WorkRates
from sd_api.jobs.workers import WorkerStatus
from sd_api.owners import is_of, job_name, job_owner
from sd_api.settings import Limits

# Jobs whose status is remembered after their end.
REMEMBERED = 256


class LocalQueue:
    """See JobQueue. Runs the jobs on its own thread, to whose engine it is the Feed.

    Args:
        make_engine: Called once on that thread, so that the port can be open while torch is imported.
        loading: The engine's status until the engine has been made.
        limits: The limits of waiting jobs and of a job's time.
        listeners: Called with a job after each of its changes.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        loading: EngineStatus,
        limits: Limits,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        self._engine = EngineThread(make_engine, loading)
        self._started = time.time()
        self._limits = limits
        self._listeners = listeners
        self._dispatcher: Dispatcher[Job] = Dispatcher()
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()
        self._rates = WorkRates()
        self._changed = threading.Condition()
        self._stopping = False
        # A daemon, so that a step that takes minutes does not keep a stopped process alive.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread: it makes the engine, loads its model, then runs jobs."""
        self._thread.start()

    def submit(
        self,
        spec: JobSpec,
        *,
        job_id: str | None = None,
        client: str = "",
        program: str = "",
        dialect: str = "",
        rejoin: bool = False,
    ) -> Job:
        """See JobQueue."""
        spec = planned(spec, lambda: self.status().abilities)
        job = Job(
            spec,
            job_id=job_id,
            client=client,
            program=program,
            dialect=dialect,
            lasting=rejoin,
            max_seconds=self._limits.max_job_seconds,
        )
        for listener in self._listeners:
            job.listen(listener)
        with self._changed:
            if self._stopping:
                raise ServerStopping("The server is shutting down.")
            self._reap()
            existing = self._find(job.id)
            if rejoin and existing is not None and existing.client == client:
                return existing
            if job.id in self._ended or existing is not None:
                raise taken(job.id)
            self._refuse_too_many(job)
            refuse_too_large(job, self._unfinished(), self._limits)
            self._dispatcher.add(job)
            self._changed.notify()
        return job

    def forecast(self, spec: JobSpec, flops: Mapping[str | None, float] = NOTHING_KNOWN) -> Forecast:
        """See JobQueue."""
        with self._changed:
            self._reap()
            left = [status.seconds_left for status in self._live()]
            known = [seconds for seconds in left if seconds is not None]
            wait = max(known, default=0.0) if len(known) == len(left) else None
            return Forecast(self._duration(spec, flops), wait)

    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        return self._stop(job_id, lambda job: job.cancel(reason))

    def stop_early(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        return self._stop(job_id, lambda job: job.stop_early(reason))

    def move(self, job_id: str, *, before: str | None = None, after: str | None = None) -> JobStatus:
        """See JobQueue."""
        with self._changed:
            self._reap()
            job = self._waiting(job_id)
            owner = job_owner(job.id)
            of_client = self._dispatcher.waiting.of(job.client)
            own = [other for other in of_client if is_of(owner, other.id) and other is not job]
            place, beside = 0, before or after
            if beside is not None:
                other = self._waiting(beside)
                if other not in own:
                    raise not_together(job_id, beside)
                place = own.index(other) + (before is None)
            self._dispatcher.waiting.reorder([*own[:place], job, *own[place:]])
            return next(status for status in self._live() if status.id == job_id)

    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """See JobQueue."""
        with self._changed:
            self._reap()
            if preview and (job := self._find(job_id)) is not None:
                job.ask_preview()
            live = next((status for status in self._live() if status.id == job_id), None)
            return live or self._remembered(job_id)

    def jobs(self) -> list[JobStatus]:
        """See JobQueue."""
        with self._changed:
            self._reap()
            return self._live()

    def status(self) -> EngineStatus:
        """See JobQueue."""
        return self._engine.status()

    def workers(self) -> list[WorkerStatus]:
        """See JobQueue."""
        with self._changed:
            self._reap()
            jobs = tuple(job.id for job in self._dispatcher.running.jobs)
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
            jobs = [*self._dispatcher.running.jobs, *self._dispatcher.waiting]
            self._changed.notify()
        for job in jobs:
            job.fail(ServerStopping("The server is shutting down."))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def poll(self, at_once: int, *, active: bool) -> list[Job]:
        """See Feed."""
        with self._changed:
            self._reap()
            if self._stopping:
                return []
            # At each step: the engine's status asks the device for its memory, which only a waiting job is worth.
            loaded = self.status().abilities if len(self._dispatcher.waiting) else ()
            begun = self._dispatcher.begin(at_once, loaded, active=active)
            for job in begun:
                job.duration = self._duration(job.spec)
            return begun

    def wait(self, at_once: int) -> list[Job]:
        """See Feed."""
        with self._changed:
            # Otherwise the pictures of the last jobs would stay in memory until the next job.
            self._reap()
            self._changed.wait_for(lambda: self._stopping or len(self._dispatcher.waiting))
        return self.poll(at_once, active=False)

    def _stop(self, job_id: str, stop: Callable[[Job], None]) -> JobStatus:
        with self._changed:
            self._reap()
            job = self._find(job_id)
            if job is None:
                return self._remembered(job_id)
            stop(job)
            self._reap()
            return job.status()

    def _refuse_too_many(self, job: Job) -> None:
        waiting = self._dispatcher.waiting
        total, own = len(waiting), sum(not other.lasting for other in waiting.of(job.client))
        has_room = job.lasting or own < self._limits.max_queued_requests_per_client
        if total < self._limits.max_queued_requests and has_room:
            return
        left = max((self._seconds_left(job) or 0 for job in self._dispatcher.running.jobs), default=0)
        raise QueueFull(why_full(total, own, self._limits), retry_after=max(1, math.ceil(left or FIRST_GUESS_SECONDS)))

    def _find(self, job_id: str) -> Job | None:
        return next((job for job in self._unfinished() if job.id == job_id), None)

    def _waiting(self, job_id: str) -> Job:
        found = next((job for job in self._dispatcher.waiting if job.id == job_id), None)
        if found is None:
            # Of no job but a running one there is nothing to find.
            if self._find(job_id) is None:
                self._remembered(job_id)
            raise not_waiting(job_id)
        return found

    def _unfinished(self) -> Iterator[Job]:
        return itertools.chain(self._dispatcher.running.jobs, self._dispatcher.waiting)

    def _live(self) -> list[JobStatus]:
        """All running and waiting jobs, with their positions and the estimated seconds until they end."""
        statuses: list[JobStatus] = []
        left: float | None = 0.0
        # The engine works on the latest; the jobs before it go on when it is done.
        for job in reversed(self._dispatcher.running.jobs):
            own = self._seconds_left(job)
            if job in self._dispatcher.running.front():
                left = max(left, own) if own is not None and left is not None else None
            else:
                left = None if left is None or own is None else left + own
            statuses.insert(0, replace(job.status(), seconds_left=left))
        for position, job in enumerate(self._dispatcher.waiting, start=1):
            own = self._rates.seconds(_kind(job.spec), job.spec.work, job.spec.finishing)
            left = None if left is None or own is None else left + own
            statuses.append(replace(job.status(), position=position, seconds_left=left))
        return statuses

    def _seconds_left(self, job: Job) -> float | None:
        spec, worked = job.spec, job.working_seconds()
        return self._rates.seconds_left(_kind(spec), spec.work, job.progress, worked, spec.finishing)

    def _duration(self, spec: JobSpec, flops: Mapping[str | None, float] = NOTHING_KNOWN) -> Duration | None:
        return self._rates.duration(_kind(spec), spec.work, spec.finishing, flops)

    def _reap(self) -> None:
        """Move the jobs that have ended, for whatever reason, to the remembered ones."""
        for job in [*self._dispatcher.running.jobs, *self._dispatcher.waiting]:
            if not job.ended:
                continue
            status = job.status()
            if status.state == "finished" and not job.stops_early:
                front = self._dispatcher.running.front()
                # What shares no forwards has had the device for itself while its clock went.
                shared = len(front) if job in front else 1
                self._rates.learn(_kind(job.spec), Timing.of(job.spec, job.working_seconds() / shared))
            self._dispatcher.remove(job)
            self._ended[job.id] = status
            while len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)

    def _remembered(self, job_id: str) -> JobStatus:
        if job_id not in self._ended:
            name = job_name(job_id)[:100]
            raise UnknownJob(f"There is no job {name!r}; of those that have ended, the last {REMEMBERED} are known.")
        return self._ended[job_id]

    def _work(self) -> None:
        self._engine.start()
        while not self._stopping:
            self._engine.serve(self)


def _kind(spec: JobSpec) -> JobKind:
    # The only device of this process.
    return JobKind(spec.model, spec.operation.name)
