"""A job on the worker that makes it: its steps go to Redis and its end stays there."""

import logging
import threading
import time

import redis

from sd_api.cluster.connection import fault_that_passes
from sd_api.errors import GenerationFailed
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster.board import Claim, JobBoard
from sd_api.jobs.job import Job

log = logging.getLogger(__name__)

# Seconds in which no step is reported after Redis was not there; the engine works on meanwhile.
SILENCE = 2.0

# Seconds between two attempts to keep a result.
PAUSE = 0.5


class ClaimedJob(Job):
    """Ends where Redis says that it is not wanted any more; see Job.

    Args:
        claim: what makes it this worker's.
        spec: what to make.
        client: whose it is.
        max_seconds: how long it may work.
        reports: where steps are told, through a client that does not wait for a Redis that is away.
        outcomes: where its end is kept, through one that does.
        stopping: set when the worker stops and waits no longer.
    """

    def __init__(
        self,
        claim: Claim,
        spec: JobSpec,
        client: str,
        max_seconds: float,
        *,
        reports: JobBoard,
        outcomes: JobBoard,
        stopping: threading.Event,
    ) -> None:
        super().__init__(spec, job_id=claim.job_id, client=client, max_seconds=max_seconds)
        self.claim = claim
        # How many are made along with it.
        self.batch = 1
        self._reports = reports
        self._outcomes = outcomes
        self._stopping = stopping
        self._lost = False
        self._silent_until = 0.0
        self._shown: bytes | None = None
        self.listen(lambda _: self._keep_end())

    def lose(self) -> None:
        """Take note that it is not this worker's any more; the engine stops at its next step."""
        self._lost = True

    def show(self, preview: bytes) -> None:
        """See Run."""
        self._shown = preview

    def report(self, progress: Progress) -> None:
        """See Run."""
        if not self._lost and time.monotonic() >= self._silent_until:
            self._tell_redis(progress)
        if self._lost:
            self.cancel("This job is not wanted any more, or another worker has it.")
        super().report(progress)

    def _tell_redis(self, progress: Progress) -> None:
        works = progress.phase not in ("downloading", "loading")
        preview, self._shown = self._shown, None
        try:
            wanted, looked = self._reports.report(self.claim, progress, works=works, preview=preview)
        except redis.RedisError as error:
            log.warning("A step could not be reported: %s", error)
            self._silent_until = time.monotonic() + SILENCE
            return
        self._lost = not wanted
        if looked:
            self.ask_preview()

    def _keep_end(self) -> None:
        if not self.ended or self._lost:
            return
        outcome, rate = self.outcome(), None
        if isinstance(outcome, GenerationResult):
            rate = self.working_seconds() / self.spec.work / self.batch
        while not self._stopping.is_set():
            try:
                self._outcomes.end(self.claim, outcome, rate)
            except redis.RedisError as error:
                if fault_that_passes(error) is not None:
                    log.warning("Waiting for Redis, to keep how job %s ended: %s", self.id, error)
                else:
                    log.error("How job %s ended cannot be kept: %s", self.id, error)
                    outcome, rate = GenerationFailed("The result could not be kept; the worker's log says why."), None
                self._stopping.wait(PAUSE)
            else:
                return
