"""The job queue of an API process in a cluster: jobs are accepted here and made by workers elsewhere."""

import contextlib
import json
import logging
import math
import threading
import time
from dataclasses import replace
from uuid import uuid4

import redis

from sd_api import __version__
from sd_api.cluster.connection import connect, translate_redis_errors
from sd_api.errors import JobCancelled, JobIdTaken, QueueFull, ServerStopping, Unavailable, UnknownJob
from sd_api.generation.engine import EngineStatus, Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.board import JobBoard
from sd_api.jobs.cluster.work_tokens import TokenBroker
from sd_api.jobs.job import ENDED, Job, JobStatus, Listener, State
from sd_api.jobs.queue import FIRST_GUESS_SECONDS, refuse_too_large, taken
from sd_api.jobs.results_cache import RESULT_TTL_SECONDS, Outcome
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

log = logging.getLogger(__name__)

# Seconds between two polls of all followed jobs, because published updates may be lost.
POLL_INTERVAL = 1.0

# Seconds that clients wait for a Redis that is away, or for a first worker.
MAX_OUTAGE_SECONDS = 30.0

# Seconds between two attempts to reach Redis.
RETRY_PAUSE = 0.2

NO_WORKER = f"No worker is running. Start one of {__version__}: python -m sd_api.worker"

# The states of an engine, the most ready one first.
_READINESS = ("ready", "loading", "failed")


class ClusterQueue:
    """A JobQueue and a ResultsCache in Redis. A process *follows* the jobs that it submits: it hears of their changes.

    Args:
        cluster: the settings that all processes share.
        loading: the ``status``, apart from its message, while there is no worker.
        limits: how many jobs may be queued.
        listeners: called with each followed job after every change.
    """

    def __init__(
        self, cluster: Cluster, loading: EngineStatus, limits: Limits, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self._id = uuid4().hex
        self._loading = loading
        self._limits = limits
        self._listeners = listeners
        self._client = connect(cluster)
        # For calls that are repeated soon anyway: it does not wait until Redis is back.
        self._fail_fast_client = connect(cluster, attempts=1)
        self._board = JobBoard(self._client, cluster)
        self._fail_fast_board = JobBoard(self._fail_fast_client, cluster)
        self._broker = TokenBroker(self._client, cluster)
        self._followed: dict[str, Job] = {}
        # The followed jobs that Redis has accepted, and those whose result is cached.
        self._accepted: set[str] = set()
        self._cached: set[str] = set()
        # When this process last saw a worker.
        self._last_worker_seen = time.monotonic()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow_all, name="jobs", daemon=True)

    def start(self) -> None:
        """See JobQueue."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """See JobQueue; the jobs of tasks, and those whose result is cached, go on elsewhere."""
        with self._lock:
            self._stopping.set()
            jobs = list(self._followed.values())
        for job in jobs:
            job.fail(ServerStopping("The server is shutting down."))
        self._drop(jobs)
        self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if ended:
            self._client.close()
            self._fail_fast_client.close()
        return ended

    @translate_redis_errors()
    def submit(
        self, spec: JobSpec, *, job_id: str | None = None, client: str = "", program: str = "", rejoin: bool = False
    ) -> Job:
        """See JobQueue."""
        job = Job(spec, job_id=job_id, client=client, program=program, lasting=rejoin)
        for listener in self._listeners:
            job.listen(listener)
        with self._lock:
            if self._stopping.is_set():
                raise ServerStopping("The server is shutting down.")
            existing = self._followed.get(job.id)
            if existing is None:
                refuse_too_large(job, self._followed.values(), self._limits)
                # Followed before it is submitted, so that no update is missed.
                self._followed[job.id] = job
        if existing is not None:
            if rejoin and existing.client == client:
                return existing
            raise taken(job.id)
        try:
            submission = self._board.submit(job, server=self._id, rejoin=rejoin, limits=self._limits)
        except QueueFull as refusal:
            self._forget(job)
            raise QueueFull(refusal.message, self._retry_after()) from None
        except Exception:
            self._forget(job)
            raise
        self._add_if_followed(self._accepted, job)
        if not submission.joined:
            self._issue_token(submission.worker)
        if self._stopping.is_set():
            job.fail(ServerStopping("The server is shutting down."))
            self._drop([job])
        return job

    @translate_redis_errors()
    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        self._board.cancel(job_id, reason)
        return self._board.status(job_id)

    @translate_redis_errors()
    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """See JobQueue."""
        if preview:
            self._fail_fast_board.ask_preview(job_id)
        return self._fail_fast_board.status(job_id)

    @translate_redis_errors()
    def jobs(self) -> list[JobStatus]:
        """See JobQueue."""
        return self._fail_fast_board.unfinished()

    @translate_redis_errors()
    def status(self) -> EngineStatus:
        """See JobQueue."""
        workers = self._fail_fast_board.workers()
        engines = [worker.engine for worker in workers if worker.version == __version__]
        if not engines:
            others = ", ".join(sorted({worker.version for worker in workers}))
            reason = f"All workers are of another version ({others}). " if others else ""
            return replace(self._loading, message=reason + NO_WORKER)
        best = min(engines, key=lambda engine: _READINESS.index(engine.state))
        models = {model.model: model for engine in (*engines, best) for model in engine.models}
        abilities = {name: able for engine in (*engines, best) for name, able in engine.abilities.items()}
        return replace(best, models=tuple(models.values()), abilities=abilities)

    @translate_redis_errors()
    def workers(self) -> list[WorkerStatus]:
        """See JobQueue."""
        return self._fail_fast_board.workers()

    @translate_redis_errors()
    def cache_result(self, job: Job) -> None:
        """See ResultsCache."""
        self._add_if_followed(self._cached, job)
        self._board.cache_result(job.id, RESULT_TTL_SECONDS)

    @translate_redis_errors()
    def cached_result(self, job_id: str) -> Outcome | None:
        """See ResultsCache."""
        try:
            return self._board.result(job_id)
        except UnknownJob:
            return None

    def _retry_after(self) -> int:
        left = max(
            (status.seconds_left or 0 for status in self._fail_fast_board.unfinished() if status.state == "running"),
            default=0,
        )
        return math.ceil(left) or FIRST_GUESS_SECONDS

    def _issue_token(self, worker: str | None) -> None:
        try:
            self._broker.issue_token(worker)
        except redis.RedisError as error:
            # The job is queued, so an idle worker will issue the token.
            log.warning("A job waits until Redis can be reached again: %s", error)

    def _add_if_followed(self, jobs: set[str], job: Job) -> None:
        """Add a job's id to a set of followed jobs, unless the job has ended meanwhile."""
        with self._lock:
            if job.id in self._followed:
                jobs.add(job.id)

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._followed.pop(job.id, None)
            self._accepted.discard(job.id)
            self._cached.discard(job.id)

    def _waits_only_here(self, job: Job) -> bool:
        """Whether a job is of use only to a client connected to this process: not a task's job, and not cached."""
        return not (job.lasting or job.id in self._cached)

    def _drop(self, jobs: list[Job]) -> None:
        """Cancel those of the jobs that are of use to clients of this process only."""
        try:
            for job in jobs:
                if self._waits_only_here(job):
                    self._fail_fast_board.cancel(job.id, "No client waits for this job any more.")
        except UnknownJob:
            pass
        except redis.RedisError as error:
            log.warning("Jobs that no client waits for could not be cancelled: %s", error)

    def _follow_all(self) -> None:
        """Hear of the changes of jobs until the queue stops."""
        last_contact = time.monotonic()
        while not self._stopping.is_set():
            try:
                with self._fail_fast_client.pubsub(ignore_subscribe_messages=True) as updates:  # type: ignore[no-untyped-call]
                    updates.subscribe(f"sd:updates:{self._id}")
                    last_poll = 0.0
                    while not self._stopping.is_set():
                        message = updates.get_message(timeout=POLL_INTERVAL / 4)
                        if message is not None:
                            update = json.loads(message["data"])
                            self._apply(update["id"], update["state"], codec.read_progress(update["progress"]))
                        if time.monotonic() - last_poll > POLL_INTERVAL:
                            self._poll()
                            last_poll = time.monotonic()
                        last_contact = time.monotonic()
            except redis.RedisError as error:
                log.warning("Redis cannot be used: %s", error)
                if time.monotonic() - last_contact > MAX_OUTAGE_SECONDS:
                    self._fail_waiting("The server's memory of jobs (Redis) is away for too long. Try again later.")
                self._stopping.wait(RETRY_PAUSE)
            except Exception:
                # Without this thread, no client would hear of its job again.
                log.exception("Following jobs failed")
                self._stopping.wait(RETRY_PAUSE)

    def _poll(self) -> None:
        """Send a heartbeat, expire the leases of dead workers, and read the state of all followed jobs."""
        self._fail_fast_board.server_heartbeat(self._id)
        self._fail_fast_board.expire_leases()
        if self._fail_fast_board.has_workers():
            self._last_worker_seen = time.monotonic()
        elif time.monotonic() - self._last_worker_seen > MAX_OUTAGE_SECONDS:
            self._fail_waiting(NO_WORKER)
        with self._lock:
            jobs = [job for job in self._followed.values() if job.id in self._accepted]
        for job, (state, progress) in zip(jobs, self._fail_fast_board.states([job.id for job in jobs]), strict=True):
            if state is None:
                self._submit_again(job)
            else:
                self._apply(job.id, state, progress)

    def _submit_again(self, job: Job) -> None:
        """Submit a job that Redis has lost, with its last second or with all of its data."""
        log.warning("Redis has lost job %s; it is submitted again", job.id)
        try:
            submission = self._fail_fast_board.submit(job, server=self._id, rejoin=True, limits=self._limits)
        except QueueFull:
            # The next poll tries again.
            return
        except JobIdTaken as error:
            self._forget(job)
            job.fail(error)
            return
        if job.id in self._cached:
            self._fail_fast_board.cache_result(job.id, RESULT_TTL_SECONDS)
        if not submission.joined:
            self._issue_token(submission.worker)

    def _apply(self, job_id: str, state: State, progress: Progress | None) -> None:
        """Bring a followed job to the state that Redis has for it."""
        with self._lock:
            job = self._followed.get(job_id)
        if job is None:
            return
        status = job.status()
        if state in ENDED:
            self._end(job)
        elif state == "running":
            with contextlib.suppress(JobCancelled):
                if status.state == "queued":
                    job.start()
                if progress is not None and progress != status.progress:
                    job.report(progress)

    def _end(self, job: Job) -> None:
        try:
            outcome = self._fail_fast_board.result(job.id)
        except UnknownJob as error:
            outcome = Unavailable(error.message)
        if outcome is None:
            return
        self._forget(job)
        if isinstance(outcome, GenerationResult):
            job.finish(outcome)
        elif isinstance(outcome, JobCancelled):
            job.cancel(outcome.message)
        else:
            job.fail(outcome)

    def _fail_waiting(self, reason: str) -> None:
        """Fail the jobs whose clients wait here; the jobs of tasks, and those whose result is cached, stay queued."""
        with self._lock:
            jobs = [job for job in self._followed.values() if self._waits_only_here(job)]
        for job in jobs:
            job.fail(Unavailable(reason, FIRST_GUESS_SECONDS))
            self._forget(job)
        self._drop(jobs)
