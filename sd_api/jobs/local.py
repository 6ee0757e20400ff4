"""The queue of the one-process server: one thread, because a pipeline can do one thing at a time."""

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from sd_api.errors import (
    GenerationFailed,
    JobCancelled,
    ModelUnavailable,
    QueueFull,
    ServerError,
    ServerStopping,
    log_unexpected,
)
from sd_api.generation.engine import Engine, EngineStatus
from sd_api.generation.request import GenerationRequest
from sd_api.jobs.job import Job

log = logging.getLogger(__name__)

# Offered as Retry-After until a job has been timed.
FIRST_GUESS_SECONDS = 10.0


class LocalQueue:
    """Runs jobs in the order in which they came, one at a time, on its own thread.

    Args:
        make_engine: called once on that thread, so that the port can be open while torch is imported.
        loading: what ``status`` says until the engine is there.
        max_waiting: how many jobs may wait besides the one that runs.
    """

    def __init__(self, make_engine: Callable[[], Engine], loading: EngineStatus, max_waiting: int) -> None:
        self._make_engine = make_engine
        self._status: Callable[[], EngineStatus] = lambda: loading
        self._loading = loading
        self._max_waiting = max_waiting
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._last_job_seconds = FIRST_GUESS_SECONDS
        # A daemon, so that a step that takes minutes does not keep a stopped process alive.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread: make the engine, load its model, then work."""
        self._thread.start()

    def submit(self, request: GenerationRequest) -> Job:
        """See JobQueue."""
        job = Job(request)
        with self._changed:
            if self._stopping:
                raise ServerStopping("The server is shutting down.")
            if len(self._waiting) >= self._max_waiting:
                raise QueueFull(
                    f"{len(self._waiting)} requests are waiting already, as many as limits.max_queued_requests "
                    "allows. Try again when one is done.",
                    retry_after=math.ceil(self._last_job_seconds),
                )
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """See JobQueue."""
        job.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.fail(JobCancelled("This job was cancelled while it waited."))

    def status(self) -> EngineStatus:
        """See JobQueue."""
        return self._status()

    def stop(self, timeout: float) -> bool:
        """End every job with ServerStopping, at once, and the thread at its next step.

        Args:
            timeout: seconds to wait for the thread.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._stopping = True
            running = [self._running] if self._running else []
            jobs = [*running, *self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for job in jobs:
            job.fail(ServerStopping("The server is shutting down."))
            job.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        engine = self._start_engine()
        while (job := self._next_job()) is not None:
            started = time.monotonic()
            engine = engine or self._start_engine()
            if engine is None:
                job.fail(ModelUnavailable(self.status().message or "The engine could not be started."))
            else:
                _run(engine, job)
                self._last_job_seconds = time.monotonic() - started
            # Without this the last job's images would stay in memory until the next job.
            del job

    def _start_engine(self) -> Engine | None:
        try:
            engine = self._make_engine()
        except Exception as error:
            message = error.message if isinstance(error, ServerError) else log_unexpected(log, error, "starting")
            log.error("The engine could not be started: %s", message)
            failed = EngineStatus("failed", model=self._loading.model, message=message)
            self._status = lambda: failed
            return None
        self._status = engine.status
        engine.load()
        return engine

    def _next_job(self) -> Job | None:
        """Wait for a job; None once the queue is stopping."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            self._running = self._waiting.popleft()
            return self._running


def _run(engine: Engine, job: Job) -> None:
    try:
        job.finish(engine.generate(job.request, job.report))
    except ServerError as error:
        job.fail(error)
    except Exception as error:
        job.fail(GenerationFailed(log_unexpected(log, error, job.request.mode)))
        # The frames of the trace hold the job's tensors.
        traceback.clear_frames(error.__traceback__)
