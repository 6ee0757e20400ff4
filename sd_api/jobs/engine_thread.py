"""The thread of an engine: it makes the engine, loads its model, and lets it serve a queue."""

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
    """What one thread does with one engine; ``status`` and ``at_once`` are for all threads.

    Args:
        make_engine: Called on that thread, so that others can work while torch is imported; called again for the next
            jobs where it has failed.
        loading: What ``status`` returns until the engine is there.
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
        """Make the engine and load its model; ``status`` tells a failure."""
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
        """Let the engine make what a feed brings; every job that the feed gave has ended afterwards.

        Without an engine, the next jobs of the feed fail with the reason.
        """
        started = _Started(feed)
        if self._engine is None:
            # The first jobs after a failure try again; there may be a network now.
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
    """A feed whose jobs are marked as started, and kept in mind until they have ended."""

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
        # Changes nothing for jobs that have ended, as they should have.
        self.fail(GenerationFailed("The engine left this job without a result."))
        return self._start(self._feed.wait(at_once))

    def again(self, jobs: Sequence[Job]) -> None:
        """Give jobs once more with the next call."""
        self._first = jobs

    def fail(self, error: ServerError) -> None:
        """End what has not ended."""
        for job in self._jobs:
            job.fail(error)
        self._jobs = []

    def _start(self, jobs: Sequence[Job]) -> Sequence[Job]:
        self._jobs = [job for job in (*self._jobs, *jobs) if not job.ended]
        for job in jobs:
            # One that was cancelled just now is left to the engine, whose first report of it is refused.
            with contextlib.suppress(JobCancelled):
                job.start()
        return jobs
