"""The last jobs that failed, for whoever wants to know what is wrong."""

import threading
import time
from collections import deque
from dataclasses import dataclass

from sd_api.accounts.tokens import is_owner
from sd_api.generation.operations import OperationName
from sd_api.jobs.job import Job

REMEMBERED = 10


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        time: when, in seconds since 1970.
        job_id: which job.
        mode: what kind of generation it was.
        model: the ``url_path`` of a custom model; None is the main one.
        message: what its client was told; messages hold no secrets and no prompts.
    """

    time: float
    job_id: str
    mode: OperationName
    model: str | None
    message: str


class RecentFailures:
    """A listener of jobs that remembers the last ones that failed; not those of tasks, which are their owners' own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: deque[Failure] = deque(maxlen=REMEMBERED)

    def __call__(self, job: Job) -> None:
        """Take note of a job after a change."""
        status = job.status()
        if status.state == "failed" and not is_owner(status.client):
            failure = Failure(time.time(), status.id, status.mode, status.model, status.message or "")
            with self._lock:
                self._failures.append(failure)

    def latest_first(self) -> list[Failure]:
        """Those that are remembered."""
        with self._lock:
            return list(reversed(self._failures))
