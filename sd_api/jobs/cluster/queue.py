"""The queue of an API process: jobs are accepted here, and made by workers elsewhere."""

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
from sd_api.accounts.tokens import is_owner
from sd_api.cluster.connection import connect, redis_faults_as_ours
from sd_api.errors import JobCancelled, JobIdTaken, QueueFull, ServerStopping, Unavailable, UnknownJob
from sd_api.generation.engine import EngineStatus, Progress
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GenerationResult
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.board import JobBoard
from sd_api.jobs.cluster.turns import TurnBroker
from sd_api.jobs.job import ENDED, Job, JobStatus, Listener, State
from sd_api.jobs.kept import KEPT_SECONDS, Outcome
from sd_api.jobs.queue import FIRST_GUESS_SECONDS, taken
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

log = logging.getLogger(__name__)

# Seconds between two looks at all jobs that somebody here follows, in case that a word about one was lost.
LOOK = 1.0

# Seconds that clients wait for a Redis that is away, or for a first worker.
LONGEST_ABSENCE = 30.0

# Seconds of a pause before Redis is tried again.
PAUSE = 0.2

NO_WORKER = f"No worker is running. Start one of {__version__}: python -m sd_api.worker"

# How ready an engine is, the best first.
_READINESS = ("ready", "loading", "failed")


class ClusterQueue:
    """Puts jobs where workers find them, and follows them; see JobQueue.

    Args:
        cluster: where the workers are.
        loading: what ``status`` says, with a message, while there is no worker.
        limits: how many jobs may wait.
        listeners: are told of every change of the jobs that are followed here.
    """

    def __init__(
        self, cluster: Cluster, loading: EngineStatus, limits: Limits, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self._id = uuid4().hex
        self._loading = loading
        self._limits = limits
        self._listeners = listeners
        self._client = connect(cluster)
        # For what is asked again soon anyway.
        self._hasty_client = connect(cluster, attempts=1)
        self._board = JobBoard(self._client, cluster)
        self._reads = JobBoard(self._hasty_client, cluster)
        self._broker = TurnBroker(self._client, cluster)
        self._followed: dict[str, Job] = {}
        # Of those, the ones that Redis has, and the ones that somebody will come for.
        self._accepted: set[str] = set()
        self._kept: set[str] = set()
        # When there was a worker.
        self._attended = time.monotonic()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow_all, name="jobs", daemon=True)

    def start(self) -> None:
        """See JobQueue."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """See JobQueue; the jobs of tasks, and those that somebody will come for, go on elsewhere."""
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
            self._hasty_client.close()
        return ended

    @redis_faults_as_ours()
    def submit(
        self, request: GenerationRequest, *, job_id: str | None = None, client: str = "", rejoin: bool = False
    ) -> Job:
        """See JobQueue."""
        job = Job(request, job_id=job_id, client=client)
        for listener in self._listeners:
            job.listen(listener)
        with self._lock:
            if self._stopping.is_set():
                raise ServerStopping("The server is shutting down.")
            # Followed before it is there, so that no word about it is missed.
            before = self._followed.setdefault(job.id, job)
        if before is not job:
            if rejoin and before.client == client:
                return before
            raise taken(job.id)
        try:
            submission = self._board.submit(job, follower=self._id, rejoin=rejoin, limits=self._limits)
        except QueueFull as refusal:
            self._forget(job)
            raise QueueFull(refusal.message, self._retry_after()) from None
        except Exception:
            self._forget(job)
            raise
        self._note(self._accepted, job)
        if not submission.joined:
            self._give_turn(submission.worker)
        if self._stopping.is_set():
            job.fail(ServerStopping("The server is shutting down."))
            self._drop([job])
        return job

    @redis_faults_as_ours()
    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        self._board.cancel(job_id, reason)
        return self._board.status(job_id)

    @redis_faults_as_ours()
    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """See JobQueue."""
        if preview:
            self._reads.look(job_id)
        return self._reads.status(job_id)

    @redis_faults_as_ours()
    def jobs(self) -> list[JobStatus]:
        """See JobQueue."""
        return self._reads.live()

    @redis_faults_as_ours()
    def status(self) -> EngineStatus:
        """See JobQueue."""
        workers = self._reads.workers()
        engines = [worker.engine for worker in workers if worker.version == __version__]
        if not engines:
            others = ", ".join(sorted({worker.version for worker in workers}))
            what = f"All workers are of another version ({others}). " if others else ""
            return replace(self._loading, message=what + NO_WORKER)
        best = min(engines, key=lambda engine: _READINESS.index(engine.state))
        models = {model.model: model for engine in (*engines, best) for model in engine.models}
        abilities = {name: able for engine in (*engines, best) for name, able in engine.abilities.items()}
        return replace(best, models=tuple(models.values()), abilities=abilities)

    @redis_faults_as_ours()
    def workers(self) -> list[WorkerStatus]:
        """See JobQueue."""
        return self._reads.workers()

    @redis_faults_as_ours()
    def keep(self, job: Job) -> None:
        """See Outcomes."""
        self._note(self._kept, job)
        self._board.keep(job.id, KEPT_SECONDS)

    @redis_faults_as_ours()
    def outcome(self, job_id: str) -> Outcome | None:
        """See Outcomes."""
        try:
            return self._board.result(job_id)
        except UnknownJob:
            return None

    def _retry_after(self) -> int:
        left = max((status.seconds_left or 0 for status in self._reads.live() if status.state == "running"), default=0)
        return math.ceil(left) or FIRST_GUESS_SECONDS

    def _give_turn(self, worker: str | None) -> None:
        try:
            self._broker.give_turn(worker)
        except redis.RedisError as error:
            # The job is kept; an idle worker finds that it waits.
            log.warning("A job waits for Redis to be back: %s", error)

    def _note(self, jobs: set[str], job: Job) -> None:
        """Add a job to some of those that are followed, unless it has ended meanwhile."""
        with self._lock:
            if job.id in self._followed:
                jobs.add(job.id)

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._followed.pop(job.id, None)
            self._accepted.discard(job.id)
            self._kept.discard(job.id)

    def _only_here(self, job: Job) -> bool:
        """Whether nobody but clients of this process waits for a job: no task's, and not to be fetched later."""
        return not (is_owner(job.client) or job.id in self._kept)

    def _drop(self, jobs: list[Job]) -> None:
        """Have nobody make what only clients of this process have waited for."""
        try:
            for job in jobs:
                if self._only_here(job):
                    self._reads.cancel(job.id, "Nobody waits for this job any more.")
        except UnknownJob:
            pass
        except redis.RedisError as error:
            log.warning("Some jobs are made for nobody: %s", error)

    def _follow_all(self) -> None:
        """Hear of jobs until the queue stops."""
        heard = time.monotonic()
        while not self._stopping.is_set():
            try:
                with self._hasty_client.pubsub(ignore_subscribe_messages=True) as news:  # type: ignore[no-untyped-call]
                    news.subscribe(f"sd:to:{self._id}")
                    looked = 0.0
                    while not self._stopping.is_set():
                        message = news.get_message(timeout=LOOK / 4)
                        if message is not None:
                            plain = json.loads(message["data"])
                            self._take_note(plain["id"], plain["state"], codec.read_progress(plain["progress"]))
                        if time.monotonic() - looked > LOOK:
                            self._look()
                            looked = time.monotonic()
                        heard = time.monotonic()
            except redis.RedisError as error:
                log.warning("Redis cannot be used: %s", error)
                if time.monotonic() - heard > LONGEST_ABSENCE:
                    self._give_up("The server's memory of jobs (Redis) is away for too long. Try again later.")
                self._stopping.wait(PAUSE)
            except Exception:
                # Whoever waits here would never hear of anything again.
                log.exception("Following jobs failed")
                self._stopping.wait(PAUSE)

    def _look(self) -> None:
        """See where everything stands that is followed here, and what dead workers have left."""
        self._reads.serve(self._id)
        self._reads.bury()
        if self._reads.attended():
            self._attended = time.monotonic()
        elif time.monotonic() - self._attended > LONGEST_ABSENCE:
            self._give_up(NO_WORKER)
        with self._lock:
            jobs = [job for job in self._followed.values() if job.id in self._accepted]
        for job, (state, progress) in zip(jobs, self._reads.states([job.id for job in jobs]), strict=True):
            if state is None:
                self._submit_again(job)
            else:
                self._take_note(job.id, state, progress)

    def _submit_again(self, job: Job) -> None:
        """Put a job back that Redis has lost, with the last second or with all that it had."""
        log.warning("Redis has lost job %s; it is submitted again", job.id)
        try:
            submission = self._reads.submit(job, follower=self._id, rejoin=True, limits=self._limits)
        except QueueFull:
            # The next look tries again.
            return
        except JobIdTaken as error:
            self._forget(job)
            job.fail(error)
            return
        if job.id in self._kept:
            self._reads.keep(job.id, KEPT_SECONDS)
        if not submission.joined:
            self._give_turn(submission.worker)

    def _take_note(self, job_id: str, state: State, progress: Progress | None) -> None:
        """Have a followed job be as it is told."""
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
            outcome = self._reads.result(job.id)
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

    def _give_up(self, why: str) -> None:
        """Answer those who wait here; tasks wait on, and what somebody will come for."""
        with self._lock:
            jobs = [job for job in self._followed.values() if self._only_here(job)]
        for job in jobs:
            job.fail(Unavailable(why, FIRST_GUESS_SECONDS))
            self._forget(job)
        self._drop(jobs)
