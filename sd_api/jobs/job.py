"""One generation from the moment it is accepted to its one final state."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from sd_api.errors import JobCancelled, ServerError
from sd_api.generation.engine import Duration, Progress
from sd_api.generation.operation import OperationName
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.work_rates import seconds_left

log = logging.getLogger(__name__)

State = Literal["queued", "running", "finished", "failed", "cancelled"]
# Seconds that previews are made after a client has asked for one.
PREVIEW_INTEREST = 5.0

ENDED: frozenset[State] = frozenset({"finished", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """The public status of a job, without its images.

    Attributes:
        id: the job's id in the queue; see ``JobQueue.submit``, as for the next three.
        client: the client's fair-queue key.
        program: which of the client's programs has sent it.
        dialect: in which it was asked for.
        mode: the operation.
        model: the ``url_path`` of a custom model; None is the main model.
        state: ``finished``, ``failed`` and ``cancelled`` are final.
        created: when it was accepted, in seconds since 1970, as the others.
        started: when it began to run; None if it has not started.
        ended: when it reached its final state; None before.
        progress: the last step that was reported; None before the first.
        message: why it failed or was cancelled; None otherwise.
        preview: a small PNG of the first picture's current state; None if no client has asked for previews.
        position: the position in the queue, 1 being the next; None if the job is not queued.
        seconds_left: the estimated seconds until its end, waiting included; None without measured jobs of its model.
    """

    id: str
    client: str
    program: str
    dialect: str
    mode: OperationName
    model: str | None
    state: State
    created: float
    started: float | None
    ended: float | None
    progress: Progress | None
    message: str | None
    preview: bytes | None = None
    position: int | None = None
    seconds_left: float | None = None


class Job:
    """A spec in the queue, with its progress and its outcome; for the engine, it is a Run.

    Args:
        spec: What to make.
        job_id: the id; None chooses a random one.
        client: the client's fair-queue key.
        program: which of the client's programs has sent it.
        dialect: in which it was asked for.
        lasting: whether the job outlives the process that has submitted it, as a task's does.
        max_seconds: how long it may work, without loading a model; None is for ever.
    """

    duration: Duration | None = None  # set when it begins, by a queue that has measured such jobs

    def __init__(
        self,
        spec: JobSpec,
        *,
        job_id: str | None = None,
        client: str = "",
        program: str = "",
        dialect: str = "",
        lasting: bool = False,
        max_seconds: float | None = None,
    ) -> None:
        self.spec = spec
        self.id = job_id or uuid4().hex
        self.client = client
        self.program = program
        self.dialect = dialect
        self.lasting = lasting
        self._max_seconds = max_seconds
        # Held while listeners are called, so that none is called after the end. No other lock is acquired inside.
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._state: State = "queued"
        self._created = time.time()
        self._started: float | None = None
        self._ended: float | None = None
        self._progress: Progress | None = None
        # The seconds before the last pause, and the beginning of those since.
        self._worked = 0.0
        self._works = False
        self._working_since: float | None = None
        self._message: str | None = None
        self._preview: bytes | None = None
        self._preview_asked = -PREVIEW_INTEREST
        self._stops_early = False
        self._outcome: Future[GenerationResult] = Future()

    @property
    def ended(self) -> bool:
        """Whether it has reached its final state."""
        return self._state in ENDED

    def status(self) -> JobStatus:
        """The current status."""
        with self._lock:
            return JobStatus(
                id=self.id,
                client=self.client,
                program=self.program,
                dialect=self.dialect,
                mode=self.spec.operation.name,
                model=self.spec.model,
                state=self._state,
                created=self._created,
                started=self._started,
                ended=self._ended,
                progress=self._progress,
                message=self._message,
                preview=self._preview,
            )

    def ask_preview(self) -> None:
        """Have previews made for the next seconds."""
        self._preview_asked = time.monotonic()

    @property
    def preview_wanted(self) -> bool:
        """See Run."""
        return not self.ended and time.monotonic() - self._preview_asked < PREVIEW_INTEREST

    def show(self, preview: bytes) -> None:
        """See Run; listeners get it with the next step."""
        with self._lock:
            # It may have ended while the preview was made.
            if not self.ended:
                self._preview = preview

    @property
    def progress(self) -> Progress | None:
        """The last step that was reported; None before the first."""
        return self._progress

    def working_seconds(self) -> float:
        """Seconds that the engine has worked on it, without loading a model and without its pauses."""
        since = self._working_since
        return self._worked + (0.0 if since is None else time.monotonic() - since)

    def seconds_left(self, expected: float | None) -> float | None:
        """The estimated seconds until its end, more and more from its own steps.

        Args:
            expected: the estimate for the whole job; None if there is none.
        """
        return seconds_left(self._progress, self.working_seconds(), expected)

    def pause(self) -> None:
        """Stop the clock of ``working_seconds``, because other jobs have overtaken it."""
        with self._lock:
            self._worked, self._working_since = self.working_seconds(), None

    def resume(self) -> None:
        """Let the clock go on; it goes on by itself with the next step as well."""
        with self._lock:
            if self._works and self._working_since is None:
                self._working_since = time.monotonic()

    def result(self) -> GenerationResult:
        """Wait for the outcome.

        Raises:
            ServerError: the job failed, or was cancelled.
        """
        error = self._outcome.exception()
        if isinstance(error, ServerError):
            raise error.again()
        return self._outcome.result()

    def outcome(self) -> GenerationResult | ServerError:
        """The outcome of a job that has ended, an error as a value."""
        error = self._outcome.exception()
        # Without its trace, which would keep whatever waits for this job.
        return error.with_traceback(None) if isinstance(error, ServerError) else self._outcome.result()

    def listen(self, listener: "Listener") -> None:
        """Have ``listener`` called after every change from now on; it must not block."""
        with self._lock:
            self._listeners.append(listener)

    def start(self) -> None:
        """Take note that an engine begins with it.

        Raises:
            JobCancelled: it has ended already.
        """
        with self._lock:
            self._refuse_ended()
            self._state, self._started = "running", time.time()
            self._tell()

    def report(self, progress: Progress) -> None:
        """Take note of a step.

        Raises:
            JobCancelled: the job is not wanted any more; the engine must stop.
        """
        self._works = progress.phase not in ("downloading", "loading")
        if self._works:
            self.resume()
        if self._max_seconds is not None and self.working_seconds() > self._max_seconds:
            self.cancel(
                f"This job took longer than {self._max_seconds:g} seconds, the most that limits.max_job_seconds "
                "allows. Use fewer steps or a smaller size, or raise that limit."
            )
        with self._lock:
            self._refuse_ended()
            self._progress = progress
            self._tell()

    def finish(self, result: GenerationResult) -> None:
        """End well; the first end counts."""
        self._end("finished", result)

    def fail(self, error: ServerError) -> None:
        """End badly; the first end counts."""
        self._end("failed", error)

    def cancel(self, reason: str) -> None:
        """End because no client wants the job any more; an engine that works on it stops at its next step."""
        self._end("cancelled", JobCancelled(reason))

    def stop_early(self, reason: str) -> None:
        """End with what there is of the pictures: at the engine's next step, or at once where nothing is drawn yet.

        Args:
            reason: see ``cancel``.
        """
        with self._lock:
            if is_drawing(self._progress):
                self._stops_early = True
            else:
                self.cancel(reason)

    @property
    def stops_early(self) -> bool:
        """See Run."""
        return self._stops_early

    def _end(self, state: State, outcome: GenerationResult | ServerError) -> bool:
        """End, and return whether this was the first end."""
        with self._lock:
            if self.ended:
                return False
            self._state, self._ended, self._preview = state, time.time(), None
            if isinstance(outcome, GenerationResult):
                self._outcome.set_result(outcome)
            else:
                self._message = outcome.message
                self._outcome.set_exception(outcome)
            self._tell()
        return True

    def _refuse_ended(self) -> None:
        if self.ended:
            raise JobCancelled(self._message or "This job has ended.")

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:
                # A listener that fails must not fail the job.
                log.exception("A listener of job %s failed", self.id)


def is_drawing(progress: Progress | None) -> bool:
    """Whether there is anything of a job's pictures."""
    return progress is not None and progress.phase in ("denoising", "decoding")


Listener = Callable[[Job], None]
"""Is called with the job after each change, from whichever thread made it."""
