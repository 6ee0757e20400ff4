"""A job on the worker that makes it: its progress and its outcome are written to Redis."""

import logging
import threading
import time

import redis

from sd_api.cluster.connection import transient_fault
from sd_api.errors import GenerationFailed, ServerError
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster.worker_board import Claim, Held, WorkerBoard
from sd_api.jobs.job import Job, State, is_drawing
from sd_api.jobs.work_rates import JobKind, Timing

log = logging.getLogger(__name__)

# Seconds without reports after Redis could not be reached; the engine works on meanwhile.
REPORT_PAUSE = 2.0

# Seconds between two attempts to write an outcome.
RETRY_PAUSE = 0.5


class ClaimedJob(Job):
    """A Job that is cancelled as soon as this worker has lost it.

    Args:
        claim: the worker's lease of the job.
        spec: what to make.
        client: the client's fair-queue key.
        subscribers: the servers that follow it.
        max_seconds: how long the engine may work on it.
        device: where it runs, see EngineStatus.
        reports: takes progress; its connection fails at once if Redis is away.
        outcomes: takes the outcome; its connection tries again if Redis is away.
        stopping: set when the worker stops, so that nothing waits for Redis any longer.
    """

    def __init__(
        self,
        claim: Claim,
        spec: JobSpec,
        client: str,
        subscribers: tuple[str, ...],
        max_seconds: float,
        *,
        device: str | None,
        reports: WorkerBoard,
        outcomes: WorkerBoard,
        stopping: threading.Event,
    ) -> None:
        super().__init__(spec, job_id=claim.job_id, client=client, max_seconds=max_seconds)
        self.claim = claim
        # The number of jobs in its batch.
        self.batch = 1
        self._device = device
        self._reports = reports
        self._outcomes = outcomes
        self._stopping = stopping
        self._lost = False
        self._asked_to_stop = False
        self._no_report_before = 0.0
        self._subscribers = subscribers
        self._preview_to_send: bytes | None = None
        # When a client last asked for previews, by the clock of Redis.
        self._preview_asked_at: bytes | None = None
        self._settled = threading.Event()

    def lose(self) -> None:
        """Note that the lease has gone to another worker; the engine stops at its next step."""
        self._lost = True

    def show(self, preview: bytes) -> None:
        """See Run."""
        self._preview_to_send = preview

    def report(self, progress: Progress) -> None:
        """See Run."""
        if not self._lost and time.monotonic() >= self._no_report_before:
            self._send_report(progress)
        if self._lost:
            self.cancel("This job is not wanted any more, or another worker has it.")
        super().report(progress)
        if self._asked_to_stop and is_drawing(progress):
            self.stop_early("This job was stopped.")

    def held(self) -> Held:
        """How far it is."""
        return Held(self.claim, self.progress, self.working_seconds())

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be written."""
        return self._settled.is_set()

    def settle(self) -> None:
        """Wait until Redis has the outcome of a job that has ended, unless it is another worker's."""
        self._settled.wait()

    def _send_report(self, progress: Progress) -> None:
        preview, self._preview_to_send = self._preview_to_send, None
        try:
            if preview is not None:
                self._reports.show(self.claim, preview)
            heard = self._reports.report(self.claim, self._subscribers, progress, preview=preview is not None)
        except redis.RedisError as error:
            log.warning("A step could not be reported: %s", error)
            self._no_report_before = time.monotonic() + REPORT_PAUSE
            return
        self._lost = not heard.wanted
        self._asked_to_stop = heard.stops_early
        self._subscribers = heard.subscribers
        if heard.preview_asked != self._preview_asked_at:
            self._preview_asked_at = heard.preview_asked
            self.ask_preview()

    def _end(self, state: State, outcome: GenerationResult | ServerError) -> bool:
        # Written after the end, because the job's lock is held until then, and others wait for it.
        ends = super()._end(state, outcome)
        if ends:
            try:
                self._write_outcome()
            finally:
                self._settled.set()
        return ends

    def _write_outcome(self) -> None:
        outcome, timed = self.outcome(), None
        timeable = isinstance(outcome, GenerationResult) and not self.stops_early
        if timeable and (seconds := self.working_seconds() / self.batch):
            kind = JobKind(self.spec.model, self.spec.operation.name, self._device)
            timed = kind, Timing.of(self.spec, seconds)
        while not (self._lost or self._stopping.is_set()):
            try:
                self._outcomes.end(self.claim, outcome, timed)
            except redis.RedisError as error:
                if transient_fault(error) is not None:
                    log.warning("Waiting for Redis to take the outcome of job %s: %s", self.id, error)
                else:
                    log.error("The outcome of job %s cannot be stored: %s", self.id, error)
                    outcome = GenerationFailed("The result could not be stored; the worker's log says why.")
                    timed = None
                self._stopping.wait(RETRY_PAUSE)
            else:
                return
