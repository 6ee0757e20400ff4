"""One generation from the moment it is accepted to its one final state."""

import contextlib
import threading
from concurrent.futures import Future, InvalidStateError

from sd_api.errors import JobCancelled
from sd_api.generation.engine import Progress
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GenerationResult


class Job:
    """A request in the queue, with its progress and its outcome.

    Attributes:
        request: what to make.
        progress: the last step reported; None before the first.
    """

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.progress: Progress | None = None
        self._cancelled = threading.Event()
        self._outcome: Future[GenerationResult] = Future()

    def result(self) -> GenerationResult:
        """Wait for the outcome.

        Raises:
            ServerError: the job failed, or was cancelled.
        """
        return self._outcome.result()

    def cancel(self) -> None:
        """Ask the engine to stop at its next step; a finished job stays as it is."""
        self._cancelled.set()

    def report(self, progress: Progress) -> None:
        """Take note of a step.

        Raises:
            JobCancelled: the job is not wanted any more; the engine must stop.
        """
        if self._cancelled.is_set():
            raise JobCancelled("This job was cancelled.")
        self.progress = progress

    def finish(self, result: GenerationResult) -> None:
        """End well; the first end counts."""
        with contextlib.suppress(InvalidStateError):
            self._outcome.set_result(result)

    def fail(self, error: Exception) -> None:
        """End badly; the first end counts."""
        with contextlib.suppress(InvalidStateError):
            self._outcome.set_exception(error)
