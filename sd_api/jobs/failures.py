"""The last failed jobs, which ``GET /health`` shows to their owners."""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from sd_api.generation.operation import OperationName
from sd_api.jobs.job import Job
from sd_api.owners import is_of, job_name

REMEMBERED = 256

# Of these, those that an owner is shown.
SHOWN = 10


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        time: when it failed, in seconds since 1970.
        job_id: the job's id in the queue, or its name where its owner is shown it.
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
    """A listener of jobs that remembers the last failed ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: deque[Failure] = deque(maxlen=REMEMBERED)

    def __call__(self, job: Job) -> None:
        """Record the job if it has failed."""
        status = job.status()
        if status.state == "failed":
            failure = Failure(time.time(), status.id, status.mode, status.model, status.message or "")
            with self._lock:
                self._failures.append(failure)

    def latest_first(self, owner: str) -> list[Failure]:
        """The last failures of an owner's jobs, the latest first."""
        with self._lock:
            own = [failure for failure in reversed(self._failures) if is_of(owner, failure.job_id)]
        return [replace(failure, job_id=job_name(failure.job_id)) for failure in own[:SHOWN]]
