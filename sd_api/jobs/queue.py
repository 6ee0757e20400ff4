"""What the dialects need of a queue, whether it works in this process or on other machines."""

from typing import Protocol

from sd_api.errors import JobIdTaken
from sd_api.generation.engine import EngineStatus
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Limits

# Seconds offered as Retry-After until a job has been timed.
FIRST_GUESS_SECONDS = 10


class JobQueue(Protocol):
    """Takes requests in, and has them made: clients in turn, each client's in order."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self, timeout: float) -> bool:
        """End what clients of this process wait for with ServerStopping, at once.

        Args:
            timeout: seconds to wait for the queue's threads.

        Returns:
            Whether they have ended.
        """

    def submit(self, spec: JobSpec, *, job_id: str | None = None, client: str = "", rejoin: bool = False) -> Job:
        """Accept a request.

        Args:
            spec: what to make.
            job_id: what the client calls the job; None chooses.
            client: who asks; nobody waits behind more than one job of each other client.
            rejoin: whether a job of that client with that id, which runs or waits already, is the one that is meant.
                Where many machines keep their jobs together, one that has ended is, too, while its result is kept.

        Raises:
            JobIdTaken: there is another job with that id.
            QueueFull: as many wait as the configuration allows, altogether or of this client.
            ServerStopping: the server is shutting down.
        """

    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """End a job now: a waiting one leaves the queue, a running one stops at its next step.

        Returns:
            Its status afterwards; one that had ended before stays as it was.

        Raises:
            UnknownJob: there is none, or none any more.
        """

    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """Tell about one job; of those that have ended, only the latest are known.

        Args:
            job_id: its id.
            preview: whether previews shall be made from now on, for some seconds.

        Raises:
            UnknownJob: there is none, or none any more.
        """

    def jobs(self) -> list[JobStatus]:
        """Tell about all jobs that have not ended: what runs, and what waits, in the order of their turns."""

    def status(self) -> EngineStatus:
        """Tell how the engine behind the queue is; of several, how the readiest is."""

    def workers(self) -> list[WorkerStatus]:
        """Tell about all that have an engine, those that began first before the others."""


def taken(job_id: str) -> JobIdTaken:
    """The refusal of an id that is another job's."""
    return JobIdTaken(f"job_id {job_id!r} is taken by another job; choose a new one for each request.")


def why_full(total: int, own: int, limits: Limits) -> str:
    """Which limit keeps a request out.

    Args:
        total: how many requests wait.
        own: how many of them are of the same client.
        limits: of which at least one is reached.
    """
    if total >= limits.max_queued_requests:
        reached = f"{total} requests are waiting already, as many as limits.max_queued_requests allows."
    else:
        reached = (
            f"{own} of your requests are waiting already, as many as limits.max_queued_requests_per_client allows."
        )
    return f"{reached} Try again when one is done."
