"""What became of jobs that nobody waits for, until whoever asked for them comes to fetch it."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from sd_api.errors import ServerError
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job

# An hour: long enough to close the browser by mistake, notice and come back.
KEPT_SECONDS = 3600.0

# Of all pictures together; the oldest go first, but the latest are always kept.
KEPT_BYTES = 256 * 1024 * 1024

Outcome = GenerationResult | ServerError


class Outcomes(Protocol):
    """Keeps the outcomes of some jobs for a while; for all threads."""

    def keep(self, job: Job) -> None:
        """Keep what will become of a job."""

    def outcome(self, job_id: str) -> Outcome | None:
        """How a job ended; None where it has not, or where that is not kept, or not any more."""


@dataclass(frozen=True)
class _Kept:
    outcome: Outcome
    since: float
    bytes: int


class KeptOutcomes:
    """See Outcomes; in memory.

    Args:
        max_seconds: how long each is kept, at most.
        max_bytes: the pictures that are kept, altogether.
    """

    def __init__(self, max_seconds: float = KEPT_SECONDS, max_bytes: int = KEPT_BYTES) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, job: Job) -> None:
        """See Outcomes."""
        job.listen(self._take)
        # It may have ended before it was listened to.
        self._take(job)

    def outcome(self, job_id: str) -> Outcome | None:
        """See Outcomes."""
        with self._lock:
            self._drop_old()
            kept = self._kept.get(job_id)
        return None if kept is None else kept.outcome

    def _take(self, job: Job) -> None:
        if not job.ended:
            return
        outcome = job.outcome()
        size = sum(len(image.png) for image in outcome.images) if isinstance(outcome, GenerationResult) else 0
        with self._lock:
            self._kept[job.id] = _Kept(outcome, time.monotonic(), size)
            self._drop_old()

    def _drop_old(self) -> None:
        total = sum(kept.bytes for kept in self._kept.values())
        oldest_allowed = time.monotonic() - self._max_seconds
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.since >= oldest_allowed and (total <= self._max_bytes or len(self._kept) == 1):
                break
            total -= oldest.bytes
            self._kept.popitem(last=False)
