"""The work of an engine's thread: make the engine, load its model, and run it over a feed of jobs."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from sd_api.errors import (
    GenerationFailed,
    JobCancelled,
    ModelUnavailable,
    ServerError,
    generation_failure,
    log_unexpected,
)
from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.job import Job

log = logging.getLogger(__name__)


class EngineThread:
    """An engine and the calls that its thread makes; only ``status`` and ``at_once`` may be called on any thread.

    Args:
        make_engine: Called on that thread, so that other threads can work while torch is imported. If it fails, it is
            called again for the next jobs.
        loading: The status until the engine has been made.
    """

    def __init__(self, make_engine: Callable[[], Engine], loading: EngineStatus) -> None:
        self._make_engine = make_engine
        self._model = loading.model
        self._engine: Engine | None = None
        self._status: Callable[[], EngineStatus] = lambda: loading

    def status(self) -> EngineStatus:
        """See Engine."""
        return self._status()

    def at_once(self) -> int:
        """See Engine."""
        return 1 if self._engine is None else self._engine.at_once()

    def start(self) -> None:
        """Make the engine and load its model; after a failure, ``status`` has the reason."""
        try:
            engine = self._make_engine()
        except Exception as error:
            message = error.message if isinstance(error, ServerError) else log_unexpected(log, error, "starting")
            log.error("The engine could not be started: %s", message)
            failed = EngineStatus("failed", model=self._model, message=message)
            self._status = lambda: failed
            return
        self._status = engine.status
        self._engine = engine
        engine.load()

    def serve(self, feed: "JobFeed") -> None:
        """Run the engine over a feed; afterwards every job that the feed has returned has ended.

        If there is no engine, the next jobs of the feed fail with the reason.
        """
        started = _Started(feed)
        if self._engine is None:
            # The first jobs after a failure try once more; the network may be back.
            first = started.poll(1, active=False) or started.wait(1)
            if first and self._engine is None:
                self.start()
            started.again(first)
        if self._engine is None:
            started.fail(ModelUnavailable(self.status().message or "The engine could not be started."))
            return
        try:
            self._engine.serve(started)
        except Exception as error:
            started.fail(generation_failure(log, error, "the engine"))
        else:
            started.fail(GenerationFailed("The engine left this job without a result."))


class JobFeed(Protocol):
    """A feed of jobs, see Feed."""

    def poll(self, at_once: int, *, active: bool) -> Sequence[Job]:
        """See Feed."""

    def wait(self, at_once: int) -> Sequence[Job]:
        """See Feed."""


class _Started:
    """A feed that marks its jobs as started and tracks them until they have ended."""

    def __init__(self, feed: JobFeed) -> None:
        self._feed = feed
        self._jobs: list[Job] = []
        self._first: Sequence[Job] = ()

    def poll(self, at_once: int, *, active: bool) -> Sequence[Job]:
        """See Feed."""
        first, self._first = self._first, ()
        return first or self._start(self._feed.poll(at_once, active=active))

    def wait(self, at_once: int) -> Sequence[Job]:
        """See Feed."""
        # A correct engine has ended all its jobs by now; ended jobs are not changed.
        self.fail(GenerationFailed("The engine left this job without a result."))
        return self._start(self._feed.wait(at_once))

    def again(self, jobs: Sequence[Job]) -> None:
        """Return these jobs once more from the next call."""
        self._first = jobs

    def fail(self, error: ServerError) -> None:
        """Fail the jobs that have not ended."""
        for job in self._jobs:
            job.fail(error)
        self._jobs = []

    def _start(self, jobs: Sequence[Job]) -> Sequence[Job]:
        self._jobs = [job for job in (*self._jobs, *jobs) if not job.ended]
        for job in jobs:
            # The engine drops a job that was cancelled just now, because its first report raises JobCancelled.
            with contextlib.suppress(JobCancelled):
                job.start()
        return jobs
