"""Results cache: how jobs with ``wait=false`` ended, until their clients fetch it."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from sd_api.errors import ServerError
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job

# An hour: long enough to close the browser by mistake, notice and come back.
RESULT_TTL_SECONDS = 3600.0

# The size of all cached pictures together; the oldest are evicted first, but the latest result always stays.
MAX_CACHED_BYTES = 256 * 1024 * 1024

Outcome = GenerationResult | ServerError
"""How a job ended: its pictures, or the error that its client gets."""


class ResultsCache(Protocol):
    """Keeps the outcomes of some jobs for a limited time; thread-safe."""

    def cache_result(self, job: Job) -> None:
        """Have the outcome of a job kept from its end on."""

    def cached_result(self, job_id: str) -> Outcome | None:
        """The outcome of a job; None if it has not ended, was never to be cached, or has been evicted."""


@dataclass(frozen=True)
class _CachedOutcome:
    outcome: Outcome
    since: float
    bytes: int


class MemoryResultsCache:
    """A ResultsCache in the memory of this process.

    Args:
        max_seconds: time to live of each outcome.
        max_bytes: the size of all cached pictures together.
    """

    def __init__(self, max_seconds: float = RESULT_TTL_SECONDS, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # The oldest first.
        self._cached: OrderedDict[str, _CachedOutcome] = OrderedDict()

    def cache_result(self, job: Job) -> None:
        """See ResultsCache."""
        with self._lock:
            # The outcome of an earlier job with the same id.
            self._cached.pop(job.id, None)
        job.listen(self._add_if_ended)
        # The job may have ended before it had this listener.
        self._add_if_ended(job)

    def cached_result(self, job_id: str) -> Outcome | None:
        """See ResultsCache."""
        with self._lock:
            self._evict()
            cached = self._cached.get(job_id)
        return None if cached is None else cached.outcome

    def _add_if_ended(self, job: Job) -> None:
        if not job.ended:
            return
        outcome = job.outcome()
        size = sum(len(image.png) for image in outcome.images) if isinstance(outcome, GenerationResult) else 0
        with self._lock:
            self._cached[job.id] = _CachedOutcome(outcome, time.monotonic(), size)
            self._evict()

    def _evict(self) -> None:
        total = sum(cached.bytes for cached in self._cached.values())
        oldest_allowed = time.monotonic() - self._max_seconds
        while self._cached:
            oldest = next(iter(self._cached.values()))
            if oldest.since >= oldest_allowed and (total <= self._max_bytes or len(self._cached) == 1):
                break
            total -= oldest.bytes
            self._cached.popitem(last=False)
