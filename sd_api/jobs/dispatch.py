"""Which waiting jobs an engine begins at a step boundary: fair between clients, short jobs first, waiting bounded.

A job may join a batch that has room, or overtake a longer one that runs. Either way other jobs wait longer. Each job
accepts that only for as much work as it is itself, so overtakers at most double the time of any job.
"""

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

    def pause(self) -> None:
        """Stop its clock."""

    def resume(self) -> None:
        """Let its clock go on."""


Entry = TypeVar("Entry", bound=Dispatched)


class RunningJobs(Generic[Entry]):
    """The jobs that an engine has begun, in the order in which they began; it works on the last one.

    It is not thread-safe: its owner holds a lock around every call.

    Attributes:
        jobs: Those that have not ended.
        at_once: How many pictures the engine makes in one forward.
    """

    def __init__(self) -> None:
        self.jobs: list[Entry] = []
        self.at_once = 1
        self._patience: dict[Entry, float] = {}

    def front(self) -> list[Entry]:
        """The jobs that are worked on: the last one, and those that share its forwards."""
        front = self.jobs[-1:]
        for job in self.jobs[:-1]:
            if job.spec.batch_key == front[0].spec.batch_key and _rows(front) < self.at_once:
                front.append(job)
        return front

    @property
    def room(self) -> int:
        """How many rows may join the forwards of the front."""
        return self.at_once - _rows(self.front()) if self.jobs else 0

    def longest_overtaker(self) -> float:
        """The most work, see ``JobSpec.work``, of a job that may overtake; 0 where none runs."""
        if not self.jobs:
            return 0.0
        return min(SHORT * min(map(_remaining, self.front())), *self._patience.values())

    def begin(self, job: Entry, *, overtakes: bool = False) -> None:
        """Add a job; where it overtakes, the others have less patience for the next one."""
        if overtakes:
            for other in self.jobs:
                self._patience[other] -= job.spec.work
        self.jobs.append(job)
        self._patience[job] = job.spec.work
        self._set_clocks()

    def remove(self, job: Entry) -> None:
        """Drop a job that has ended."""
        self.jobs.remove(job)
        del self._patience[job]
        self._set_clocks()

    def _set_clocks(self) -> None:
        front = self.front()
        for job in self.jobs:
            if job in front:
                job.resume()
            else:
                job.pause()


class Dispatcher(Generic[Entry]):
    """Chooses jobs from a fair queue. It is not thread-safe: its owner holds a lock around every call.

    Attributes:
        waiting: The jobs that have not begun.
        running: Those that have.
    """

    def __init__(self) -> None:
        self.waiting: FairQueue[Entry] = FairQueue()
        self.running: RunningJobs[Entry] = RunningJobs()
        # The work of others that each waiting job still lets go before it.
        self._patience: dict[Entry, float] = {}

    def add(self, job: Entry) -> None:
        """Take a job into the queue."""
        self.waiting.add(job)
        self._patience[job] = job.spec.work

    def remove(self, job: Entry) -> None:
        """Drop a job that has ended."""
        if job in self.running.jobs:
            self.running.remove(job)
        else:
            self.waiting.remove(job)
            del self._patience[job]

    def begin(self, at_once: int, loaded: Collection[str | None], *, active: bool) -> list[Entry]:
        """Choose the jobs to begin now.

        Args:
            at_once: How many pictures the engine makes in one forward.
            loaded: The models that are in memory; a job that needs another one overtakes no running job.
            active: Whether the device has work; without any, the next job in turn begins.
        """
        self.running.at_once = at_once
        begun: list[Entry] = []
        if not active and len(self.waiting):
            begun.append(job := self.waiting.take())
            del self._patience[job]
            self.running.begin(job)
        passed_over: list[Entry] = []
        for job in list(self.waiting):
            joins = self._joins(job)
            overtakes = not joins and not begun and job.spec.model in loaded and self._is_short(job)
            if (joins or overtakes) and all(self._patience[other] >= job.spec.work for other in passed_over):
                for other in passed_over:
                    self._patience[other] -= job.spec.work
                self.waiting.remove(job)
                del self._patience[job]
                self.running.begin(job, overtakes=overtakes)
                begun.append(job)
            else:
                passed_over.append(job)
        return begun

    def _joins(self, job: Entry) -> bool:
        front = self.running.front()
        fits = bool(front) and job.spec.batch_key == front[0].spec.batch_key
        return fits and job.spec.rows <= self.running.room

    def _is_short(self, job: Entry) -> bool:
        return job.spec.work <= self.running.longest_overtaker()


def _remaining(job: Dispatched) -> float:
    """The work that is left of a job, see ``JobSpec.work``."""
    progress = job.progress
    done = progress.step / progress.steps if progress is not None and progress.steps else 0.0
    return job.spec.work * (1 - done)


def _rows(jobs: Collection[Dispatched]) -> int:
    return sum(job.spec.rows for job in jobs)
