"""The protocol of a job queue, which runs its jobs in this process or on other machines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sd_api.errors import JobIdTaken, JobNotWaiting, QueueFull
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import Duration, EngineStatus
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.work_rates import NOTHING_KNOWN
from sd_api.jobs.workers import WorkerStatus
from sd_api.owners import job_name
from sd_api.settings import Limits

# Seconds offered as Retry-After until a job has been timed.
FIRST_GUESS_SECONDS = 10

# The most memory for the images of all unfinished jobs of a process, and for those of one client, as multiples of the
# largest body. A job alone is always taken, however large its images are.
LARGEST_BODIES, LARGEST_BODIES_PER_CLIENT = 8, 4


@dataclass(frozen=True)
class Forecast:
    """When a job would be done if it was submitted now.

    Attributes:
        duration: How long it would have the device; None without measured jobs of its model.
        wait: The seconds until it would begin, at most, because a short job may overtake others; None without
            measured jobs of the models of those before it.
    """

    duration: Duration | None
    wait: float | None


class JobQueue(Protocol):
    """Accepts jobs and runs them: clients are served fairly, the jobs of one client in order."""

    def start(self) -> None:
        """Start the queue's threads."""

    def stop(self, timeout: float) -> bool:
        """End the jobs for which clients of this process wait with ServerStopping, at once.

        Args:
            timeout: seconds to wait for the queue's threads.

        Returns:
            Whether they have ended.
        """

    def submit(
        self,
        spec: JobSpec,
        *,
        job_id: str | None = None,
        client: str = "",
        program: str = "",
        dialect: str = "",
        rejoin: bool = False,
    ) -> Job:
        """Accept a job.

        Args:
            spec: the job's spec.
            job_id: the id, see ``sd_api.owners.qualified``; None chooses one.
            client: the fair-queue key, see ``sd_api.owners.client_of``; a client waits behind at most one job of each
                other client.
            program: which of the client's programs sends it; a program waits behind at most one job of each other
                program of its client, in each turn of the client.
            dialect: in which it was asked for, the name of a folder of ``sd_api.web``.
            rejoin: whether the job is a task's: it outlives this process, the limit for each client does not count it,
                and the client's running or waiting job with that id is returned, instead of raising JobIdTaken. In a
                cluster this includes jobs that have ended, while their results are cached.

        Raises:
            JobIdTaken: another job has that id.
            QueueFull: the limit of waiting jobs, or of the memory for images, is reached, in all or for this client.
            ServerStopping: the server is shutting down.
        """

    def forecast(self, spec: JobSpec, flops: Mapping[str | None, float] = NOTHING_KNOWN) -> Forecast:
        """The time that a planned job would take if it was submitted now.

        Args:
            spec: The job.
            flops: What models compute for each pixel, see ``EngineStatus``; without it, nothing is said of models of
                which no job has been measured.
        """

    def cancel(self, job_id: str, reason: str) -> JobStatus:
        """End a job now: a waiting one leaves the queue, a running one stops at its next step.

        Returns:
            The job's status afterwards; a job that had ended before is unchanged.

        Raises:
            UnknownJob: no job has that id, or it is no longer remembered.
        """

    def stop_early(self, job_id: str, reason: str) -> JobStatus:
        """End a job with what there is of its pictures: a running one finishes at its next step, others are cancelled.

        Returns and raises as ``cancel`` does.
        """

    def move(self, job_id: str, *, before: str | None = None, after: str | None = None) -> JobStatus:
        """Let a waiting job begin sooner or later than others of its owner.

        These jobs exchange the places that they have together; no other job moves.

        Args:
            job_id: the job.
            before: the waiting job of the same owner and client that it shall come right before.
            after: the one that it shall come right after; without either, it becomes the first.

        Returns:
            The job's status afterwards.

        Raises:
            UnknownJob: no job has that id, or it is no longer remembered.
            JobNotWaiting: one of the two has begun or ended, or they are of different owners or clients.
        """

    def job(self, job_id: str, *, preview: bool = False) -> JobStatus:
        """The status of one job; of the jobs that have ended, only the latest are remembered.

        Args:
            job_id: the job's id.
            preview: whether to make previews of it for the next seconds.

        Raises:
            UnknownJob: no job has that id, or it is no longer remembered.
        """

    def jobs(self) -> list[JobStatus]:
        """The status of all jobs that have not ended: first the running ones, then the waiting ones in queue order."""

    def status(self) -> EngineStatus:
        """The status of the engine; of several engines, that of the one closest to ready."""

    def workers(self) -> list[WorkerStatus]:
        """The status of all workers, the oldest first."""


def planned(spec: JobSpec, abilities: Callable[[], Mapping[str | None, ModelAbilities]]) -> JobSpec:
    """A job with the plan by which a queue estimates it; it is made where no lock is held, as large masks take a while.

    Args:
        spec: The job.
        abilities: Returns what is known of models, by their names; asked only where something depends on it.
    """
    return spec if spec.is_settled else spec.for_model(abilities().get(spec.model))


def taken(job_id: str) -> JobIdTaken:
    """The error for an id that another job has."""
    return JobIdTaken(f"job_id {job_name(job_id)!r} is taken by another job; choose a new one for each request.")


def not_waiting(job_id: str) -> JobNotWaiting:
    """The error for a job that shall be moved and has begun or ended."""
    return JobNotWaiting(f"Job {job_name(job_id)!r} does not wait any more, so it has no place in the queue.")


def not_together(job_id: str, other: str) -> JobNotWaiting:
    """The error for two jobs that share no turn."""
    return JobNotWaiting(
        f"Job {job_name(job_id)!r} cannot be moved to job {job_name(other)!r}: only jobs of one owner that came from "
        "one address or user can."
    )


def refuse_too_large(job: Job, unfinished: Iterable[Job], limits: Limits) -> None:
    """Refuse a job if its images and those of unfinished jobs would take too much memory.

    Args:
        job: the job; one without images is never refused, and the limit for each client is not for tasks.
        unfinished: the jobs whose images this process holds.
        limits: the size of the largest body, of which the limits of memory are multiples.

    Raises:
        QueueFull: the images of all jobs, or of this client's jobs, would take too much memory.
    """
    more = job.spec.memory
    if not more:
        return
    held = [(other.client, other.spec.memory) for other in unfinished]
    total, own = sum(size for _, size in held), sum(size for client, size in held if client == job.client)
    if own and own + more > LARGEST_BODIES_PER_CLIENT * limits.max_request_bytes and not job.lasting:
        raise QueueFull(f"The images of your waiting requests take {own:,} bytes. Try again.", FIRST_GUESS_SECONDS)
    if total and total + more > LARGEST_BODIES * limits.max_request_bytes:
        raise QueueFull(f"The images of all waiting requests take {total:,} bytes. Try again.", FIRST_GUESS_SECONDS)


def why_full(total: int, own: int, limits: Limits) -> str:
    """The message of QueueFull, which names the limit that is reached.

    Args:
        total: the number of waiting jobs.
        own: the number of waiting jobs of the same client.
        limits: the limits, at least one of which is reached.
    """
    if total >= limits.max_queued_requests:
        reached = f"{total} requests are waiting already, as many as limits.max_queued_requests allows."
    else:
        reached = (
            f"{own} of your requests are waiting already, as many as limits.max_queued_requests_per_client allows."
        )
    return f"{reached} Try again when one is done."
