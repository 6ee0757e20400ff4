"""The jobs that an API process follows: it hears of their changes, and clients wait for some of them here."""

import threading

from sd_api.errors import ServerStopping
from sd_api.jobs.job import Job
from sd_api.jobs.queue import refuse_too_large
from sd_api.settings import Limits


class FollowedJobs:
    """The jobs by their ids; thread-safe."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        # Those that Redis has accepted, and those whose result is cached.
        self._accepted: set[str] = set()
        self._cached: set[str] = set()
        self._closed = False
        self._lock = threading.Lock()

    def add(self, job: Job, limits: Limits) -> Job:
        """Follow a job; returns the one that is followed under its id.

        Raises:
            ServerStopping: ``close`` has been called.
            QueueFull: the images of the followed jobs would take too much memory.
        """
        with self._lock:
            if self._closed:
                raise ServerStopping("The server is shutting down.")
            if job.id not in self._jobs:
                refuse_too_large(job, self._jobs.values(), limits)
            return self._jobs.setdefault(job.id, job)

    def close(self) -> list[Job]:
        """Follow no further jobs; returns those that are followed."""
        with self._lock:
            self._closed = True
            return list(self._jobs.values())

    def find(self, job_id: str) -> Job | None:
        """The job with that id; None if it is not followed."""
        with self._lock:
            return self._jobs.get(job_id)

    def accept(self, job: Job) -> None:
        """Note that Redis has accepted a job, which may have ended meanwhile."""
        self._note(self._accepted, job)

    def accepted(self) -> list[Job]:
        """The jobs that Redis has accepted."""
        with self._lock:
            return [job for job in self._jobs.values() if job.id in self._accepted]

    def cache(self, job: Job) -> None:
        """Note that the result of a job is cached."""
        self._note(self._cached, job)

    def is_cached(self, job: Job) -> bool:
        """Whether the result of a job is cached."""
        return job.id in self._cached

    def waits_only_here(self, job: Job) -> bool:
        """Whether a job is of use only to a client connected to this process: not a task's job, and not cached."""
        return not (job.lasting or self.is_cached(job))

    def waiting_only_here(self) -> list[Job]:
        """The jobs that are of use only to clients connected to this process."""
        with self._lock:
            return [job for job in self._jobs.values() if self.waits_only_here(job)]

    def forget(self, job: Job) -> None:
        """Follow a job no longer."""
        with self._lock:
            self._jobs.pop(job.id, None)
            self._accepted.discard(job.id)
            self._cached.discard(job.id)

    def _note(self, jobs: set[str], job: Job) -> None:
        with self._lock:
            if job.id in self._jobs:
                jobs.add(job.id)
