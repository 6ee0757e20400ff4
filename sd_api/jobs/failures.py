"""The last failed jobs, which ``GET /health`` shows."""

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
        time: when it failed, in seconds since 1970.
        job_id: the job's id.
        mode: the job's operation.
        model: the ``url_path`` of a custom model; None is the main model.
        message: the message that its client got; messages contain no secrets and no prompts.
    """

    time: float
    job_id: str
    mode: OperationName
    model: str | None
    message: str


class RecentFailures:
    """A listener of jobs that remembers the last failed ones, without those of tasks, which only their owners see."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: deque[Failure] = deque(maxlen=REMEMBERED)

    def __call__(self, job: Job) -> None:
        """Record the job if it has failed."""
        status = job.status()
        if status.state == "failed" and not is_owner(status.client):
            failure = Failure(time.time(), status.id, status.mode, status.model, status.message or "")
            with self._lock:
                self._failures.append(failure)

    def latest_first(self) -> list[Failure]:
        """The remembered failures, the latest first."""
        with self._lock:
            return list(reversed(self._failures))
