"""What the dialects need of a queue, whether it works in this process or on other machines."""

from typing import Protocol

from sd_api.generation.engine import EngineStatus
from sd_api.generation.request import GenerationRequest
from sd_api.jobs.job import Job


class JobQueue(Protocol):
    """Takes requests in and has them made in order."""

    def submit(self, request: GenerationRequest) -> Job:
        """Accept a request.

        Raises:
            QueueFull: as many are waiting as the configuration allows.
            ServerStopping: the server is shutting down.
        """

    def cancel(self, job: Job) -> None:
        """Take a waiting job out of the queue, stop a running one at its next step."""

    def status(self) -> EngineStatus:
        """Tell how the engine behind the queue is."""
