"""The feed of a worker's engine: the jobs that a token has claimed, and those that join or overtake them."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from sd_api.generation.engine import EngineStatus
from sd_api.jobs.cluster.claimed import ClaimedJob
from sd_api.jobs.cluster.worker_board import Claim, WorkerBoard
from sd_api.jobs.dispatch import RunningJobs

log = logging.getLogger(__name__)

# Seconds after which a job that was reserved for another worker, see submit.lua, may join here.
RESERVATION = 1.1


class ClaimFeed:
    """See JobFeed; the engine returns when all jobs have ended, and with them the work token.

    Args:
        claimed: The jobs that the worker has claimed with its token.
        worker: The worker's id.
        board: Claims further jobs; its connection fails at once if Redis is away.
        open_job: Makes the job of a claim; None if its spec cannot be decoded, in which case the job has failed.
        status: Returns the state of the engine.
        begun: Called with all running jobs each time that further ones have begun.
    """

    def __init__(
        self,
        claimed: Sequence[ClaimedJob],
        *,
        worker: str,
        board: WorkerBoard,
        open_job: Callable[[Claim], ClaimedJob | None],
        status: Callable[[], EngineStatus],
        begun: Callable[[Sequence[ClaimedJob]], None],
    ) -> None:
        self._claimed = list(claimed)
        self._worker = worker
        self._board = board
        self._open_job = open_job
        self._status = status
        self._begun = begun
        self._running: RunningJobs[ClaimedJob] = RunningJobs()
        # The queues and the running jobs when the queues were last looked at, and when to do so without a change.
        self._seen: Any = None
        self._look_again = math.inf

    def poll(self, at_once: int, *, active: bool) -> list[ClaimedJob]:
        """See JobFeed."""
        for job in [job for job in self._running.jobs if job.ended]:
            self._running.remove(job)
        self._running.at_once = at_once
        jobs, self._claimed = self._claimed, []
        for job in jobs:
            self._running.begin(job)
        if not jobs and active and self._running.jobs:
            with contextlib.suppress(redis.RedisError):
                jobs = self._join()
        if jobs:
            for job in jobs:
                job.batch = len(self._running.front())
            self._begun(self._running.jobs)
        return jobs

    def wait(self, at_once: int) -> list[ClaimedJob]:  # noqa: ARG002 - a protocol's argument
        """See JobFeed. Returns no jobs, because further ones need another work token."""
        return []

    def _join(self) -> list[ClaimedJob]:
        """Claim the jobs that begin now; Redis is asked only if something has changed since the last time."""
        situation = self._board.queue_changes, self._running.at_once, tuple(self._running.jobs)
        now = time.monotonic()
        if situation != self._seen:
            self._look_again = now + RESERVATION
        elif now < self._look_again:
            return []
        else:
            self._look_again = math.inf
        self._seen = None
        jobs = self._claim()
        self._seen = situation
        return jobs

    def _claim(self) -> list[ClaimedJob]:
        jobs: list[ClaimedJob] = []
        models = self._status().abilities
        for claim, overtakes in self._board.join(self._worker, self._running, models=models):
            try:
                job = self._open_job(claim)
            except redis.RedisError as error:
                # Its lease expires, and then it is made; those that were opened before it begin now.
                log.warning("A job that joins could not be read: %s", error)
                continue
            if job is not None:
                self._running.begin(job, overtakes=overtakes)
                jobs.append(job)
        return jobs
