"""Which waiting jobs an engine begins at a step boundary: fair between clients, short jobs first, waiting bounded."""

from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

from sd_api.generation.engine import Progress
from sd_api.generation.spec import JobSpec
from sd_api.jobs.fair_queue import FairQueue, HasClient

# A job overtakes a running one if it is at most this share of what is left of that one.
SHORT = 0.5


class Dispatched(HasClient, Protocol):
    """What the dispatcher must know of a job."""

    @property
    def spec(self) -> JobSpec:
        """What to make."""

    @property
    def progress(self) -> Progress | None:
        """The last step that was reported."""


Entry = TypeVar("Entry", bound=Dispatched)


class Dispatcher(Generic[Entry]):
    """Chooses jobs from a fair queue. It is not thread-safe: its owner holds a lock around every call.

    A job may join a batch that has room, or overtake a longer one that runs. Either way other jobs wait longer. Each
    job accepts that only for as much work as it is itself, so no job waits for more than twice what it would have.

    Attributes:
        waiting: The jobs that have not begun.
    """

    def __init__(self) -> None:
        self.waiting: FairQueue[Entry] = FairQueue()
        # In the order in which they began; the last one is worked on.
        self._running: list[Entry] = []
        # The work of others that each job still lets go before it.
        self._patience: dict[Entry, float] = {}

    @property
    def running(self) -> list[Entry]:
        """The jobs that have begun, the latest last."""
        return list(self._running)

    def add(self, job: Entry) -> None:
        """Take a job into the queue."""
        self.waiting.add(job)
        self._patience[job] = job.spec.work

    def remove(self, job: Entry) -> None:
        """Drop a job that has ended."""
        self._patience.pop(job, None)
        if job in self._running:
            self._running.remove(job)
        else:
            self.waiting.remove(job)

    def front(self) -> list[Entry]:
        """The running jobs that are worked on: the latest, and those that share its forwards."""
        if not self._running:
            return []
        key = self._running[-1].spec.batch_key
        return [job for job in self._running if job.spec.batch_key == key]

    def begin(self, at_once: int, loaded: Collection[str | None], *, active: bool) -> list[Entry]:
        """Choose the jobs to begin now.

        Args:
            at_once: How many pictures the engine makes in one forward.
            active: Whether the device has work; without any, the next job in turn begins.
            loaded: The models that are in memory; a job that needs another one overtakes no running job.
        """
        begun: list[Entry] = []
        if not active and len(self.waiting):
            begun.append(self._take(self.waiting.take()))
        passed_over: list[Entry] = []
        for job in list(self.waiting):
            if self._may_join(job, at_once):
                overtaken = passed_over
            elif not begun and self._may_overtake(job, loaded):
                overtaken = [*passed_over, *self._running]
            else:
                overtaken = None
            if overtaken is None or any(self._patience[other] < job.spec.work for other in overtaken):
                passed_over.append(job)
                continue
            for other in overtaken:
                self._patience[other] -= job.spec.work
            self.waiting.remove(job)
            begun.append(self._take(job))
        return begun

    def _take(self, job: Entry) -> Entry:
        self._running.append(job)
        return job

    def _may_join(self, job: Entry, at_once: int) -> bool:
        front = self.front()
        room = at_once - sum(len(other.spec.seeds) for other in front)
        return bool(front) and job.spec.batch_key == front[0].spec.batch_key and len(job.spec.seeds) <= room

    def _may_overtake(self, job: Entry, loaded: Collection[str | None]) -> bool:
        if not self._running or job.spec.model not in loaded:
            return False
        # Of several that share a forward, the shortest rest counts.
        rest = min(_remaining(other) for other in self.front())
        return job.spec.work <= SHORT * rest


def _remaining(job: Dispatched) -> float:
    """The work that is left of a job, see ``JobSpec.work``."""
    progress = job.progress
    done = progress.step / progress.steps if progress is not None and progress.steps else 0.0
    return job.spec.work * (1 - done)
