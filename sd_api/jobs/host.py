"""Where an engine lives: made, loaded and called by one thread."""

import contextlib
import logging
from collections.abc import Callable, Sequence

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


class EngineHost:
    """Runs jobs on one engine; all but ``status`` belongs to one thread.

    Args:
        make_engine: called on that thread, so that others can work while torch is imported; called again by the next
            jobs where it has failed.
        loading: what ``status`` says until the engine is there.
    """

    def __init__(self, make_engine: Callable[[], Engine], loading: EngineStatus) -> None:
        self._make_engine = make_engine
        self._model = loading.model
        self._engine: Engine | None = None
        self._status: Callable[[], EngineStatus] = lambda: loading

    def status(self) -> EngineStatus:
        """See Engine; for any thread."""
        return self._status()

    def at_once(self) -> int:
        """See Engine."""
        return 1 if self._engine is None else self._engine.at_once()

    def start(self) -> None:
        """Make the engine and load its model; a failure is told by ``status``."""
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

    def run(self, jobs: Sequence[Job]) -> None:
        """Make the pictures of jobs with the same ``batch_key``, and end every one of them."""
        if self._engine is None:
            self.start()
        if self._engine is None:
            unavailable = ModelUnavailable(self.status().message or "The engine could not be started.")
            for job in jobs:
                job.fail(unavailable)
            return
        for job in jobs:
            # One that was cancelled just now is left to the engine, which is told so with the first report.
            with contextlib.suppress(JobCancelled):
                job.start()
        try:
            self._engine.generate(jobs)
        except Exception as error:
            failure = generation_failure(log, error, jobs[0].request.mode)
            for job in jobs:
                job.fail(failure)
        else:
            for job in jobs:
                # Changes nothing for those that have ended, as they should have.
                job.fail(GenerationFailed("The engine left this job without a result."))
