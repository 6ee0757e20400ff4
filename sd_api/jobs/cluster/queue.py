"""The job queue of an API process in a cluster: jobs are accepted here and made by workers elsewhere."""

import contextlib
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

import redis

from sd_api import __version__
from sd_api.cluster.connection import connect, translate_redis_errors
from sd_api.errors import QueueFull, ServerStopping, StoreUnavailable, UnknownJob
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import EngineStatus
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster.board import JobBoard
from sd_api.jobs.cluster.followed import FollowedJobs
from sd_api.jobs.cluster.follower import NO_WORKER, Follower
from sd_api.jobs.cluster.work_tokens import TokenBroker
from sd_api.jobs.job import Job, JobStatus, Listener, is_drawing
from sd_api.jobs.queue import FIRST_GUESS_SECONDS, Forecast, planned, taken
from sd_api.jobs.results_cache import RESULT_TTL_SECONDS, Outcome
from sd_api.jobs.work_rates import NOTHING_KNOWN
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

log = logging.getLogger(__name__)

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
        self._client = connect(cluster, fails_fast=True)
        # For calls that are repeated soon anyway: it does not wait until Redis is back.
        self._fail_fast_client = connect(cluster, attempts=1, fails_fast=True)
        # A subscription without messages would count as answered commands.
        self._subscriber = connect(cluster, attempts=1)
        self._followed = FollowedJobs()
        self._board = JobBoard(self._client, cluster, self._followed.find)
        self._fail_fast_board = JobBoard(self._fail_fast_client, cluster, self._followed.find)
        self._broker = TokenBroker(self._client, cluster)
        self._follower = Follower(
            self._id, self._subscriber, self._fail_fast_board, self._followed, limits, self._issue_token
        )
        self._stopping = False

    def start(self) -> None:
        """See JobQueue."""
        self._follower.start()

    def stop(self, timeout: float) -> bool:
        """See JobQueue; the jobs of tasks, and those whose result is cached, go on elsewhere."""
        self._stopping = True
        jobs = self._followed.close()
        for job in jobs:
            job.fail(ServerStopping("The server is shutting down."))
        self._follower.drop(jobs)
        ended = self._follower.stop(timeout)
        if ended:
            self._client.close()
            self._fail_fast_client.close()
            self._subscriber.close()
        return ended

    @translate_redis_errors()
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
        spec = planned(spec, self._abilities)
        job = Job(spec, job_id=job_id, client=client, program=program, dialect=dialect, lasting=rejoin)
        for listener in self._listeners:
            job.listen(listener)
        # Followed before it is submitted, so that no update is missed.
        existing = self._followed.add(job, self._limits)
        if existing is not job:
            if rejoin and existing.client == client:
                return existing
            raise taken(job.id)
        try:
            submission = self._board.submit(job, server=self._id, rejoin=rejoin, limits=self._limits)
        except QueueFull as refusal:
            self._followed.forget(job)
            raise QueueFull(refusal.message, self._retry_after()) from None
        except Exception:
            self._followed.forget(job)
            raise
        self._followed.accept(job)
        if not submission.joined:
            self._issue_token(submission.worker)
        if self._stopping:
            job.fail(ServerStopping("The server is shutting down."))
        if job.ended:
            # It was given up while Redis took it.
            self._follower.drop([job])
        return job

    @translate_redis_errors()
    def forecast(self, spec: JobSpec, flops: Mapping[str | None, float] = NOTHING_KNOWN) -> Forecast:
        """See JobQueue."""
        return self._fail_fast_board.forecast(spec, flops)

    @translate_redis_errors()
    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        self._board.cancel(job_id, reason)
        return self._board.status(job_id)

    @translate_redis_errors()
    def stop_early(self, job_id: str, reason: str) -> JobStatus:
        """See JobQueue."""
        if is_drawing(self._board.status(job_id).progress):
            self._board.stop_early(job_id)
        else:
            self._board.cancel(job_id, reason)
        return self._board.status(job_id)

    @translate_redis_errors()
    def move(self, job_id: str, *, before: str | None = None, after: str | None = None) -> JobStatus:
        """See JobQueue."""
        self._board.move(job_id, before=before, after=after)
        return self._board.status(job_id)

    @translate_redis_errors()
    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """See JobQueue."""
        followed = self._followed.find(job_id)
        if preview:
            self._fail_fast_board.ask_preview(job_id)
            if followed is not None:
                followed.ask_preview()
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
        flops = {name: count for engine in engines for name, count in engine.flops.items()}
        return replace(best, models=tuple(models.values()), abilities=abilities, flops=flops)

    @translate_redis_errors()
    def workers(self) -> list[WorkerStatus]:
        """See JobQueue."""
        return self._fail_fast_board.workers()

    @translate_redis_errors()
    def cache_result(self, job: Job) -> None:
        """See ResultsCache."""
        self._followed.cache(job)
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

    def _abilities(self) -> Mapping[str | None, ModelAbilities]:
        """What the workers' models can do; without Redis, which ``submit`` waits for, nothing is known of them."""
        with contextlib.suppress(StoreUnavailable):
            return self.status().abilities
        return {}
