"""A model of a cluster for simulation: arrivals, routing, workers that hold a few models, and the one Redis.

It follows the rules of ``sd_api/jobs/cluster``: a new job goes to an idle worker that has its model, else to any idle
one; a worker that has become free takes the first waiting job whose model it holds, or the first that has been passed
over for too long, or else the first of all.
"""

import math
import random
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import simpy

# Seconds that a job may be passed over for others whose model is held; as in the cluster itself.
PATIENCE = 10.0

Routing = Literal["blind", "aware"]


@dataclass(frozen=True)
class Costs:
    """What a job costs besides its own work; measured by ``throughput.py``.

    Attributes:
        turnaround: seconds of a worker for each job, from one to the next.
        redis_job: seconds of Redis's thread for each job, its steps included.
        redis_megabyte: seconds of Redis's thread for each megabyte of pictures, in and out.
        redis_list: seconds of Redis's thread for each job that waits when a worker becomes free.
        redis_pass: seconds of Redis's thread for each of them that is passed over then.
        redis_worker: seconds of Redis's thread in each second for each worker that is there.
    """

    turnaround: float = 0.0
    redis_job: float = 0.0
    redis_megabyte: float = 0.0
    redis_list: float = 0.0
    redis_pass: float = 0.0
    redis_worker: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """A cluster and what is asked of it.

    Attributes:
        workers: how many there are.
        load: the share of their time that the jobs' own work takes, loading left out.
        job_seconds: the mean work of a job.
        spread: its standard deviation, as a share of the mean; work is lognormal, and exponential at exactly 1.
        models: how many models there are; the n-th is asked for 1/n as often as the first.
        held: how many models a worker keeps loaded.
        load_seconds: how long loading one takes.
        routing: whether models are looked at when jobs are given out.
        megabytes: of each job's pictures.
    """

    workers: int
    load: float
    job_seconds: float = 4.0
    spread: float = 0.5
    models: int = 1
    held: int = 2
    load_seconds: float = 6.0
    routing: Routing = "aware"
    megabytes: float = 0.5


def redis_share(scenario: Scenario, costs: Costs) -> float:
    """The share of Redis's time that a scenario asks for while nothing waits; beyond 1, waits grow for ever."""
    rate = scenario.load * scenario.workers / scenario.job_seconds
    job = costs.redis_job + scenario.megabytes * costs.redis_megabyte
    return rate * job + scenario.workers * costs.redis_worker


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs.

    Attributes:
        waits: seconds from arriving to starting, in the order of starting.
        loads: the share of jobs that had to load their model.
        redis_busy: the share of the time in which Redis worked.
        rate: jobs per second that were begun.
    """

    waits: list[float]
    loads: float
    redis_busy: float
    rate: float

    def wait(self, share: float) -> float:
        """The wait that so large a share of the jobs does not exceed, in seconds."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]


@dataclass
class _Job:
    model: int
    arrived: float
    passed: float | None = None


class _Worker:
    def __init__(self, held: int) -> None:
        self._most = held
        # In the order in which they were used, the latest last.
        self.models: OrderedDict[int, None] = OrderedDict()
        self.woken: simpy.Event | None = None

    def use(self, model: int) -> bool:
        """Whether the model was held already; from now on it is."""
        held = model in self.models
        self.models[model] = None
        self.models.move_to_end(model)
        if len(self.models) > self._most:
            self.models.popitem(last=False)
        return held


def simulate(scenario: Scenario, costs: Costs, jobs: int, seed: int) -> Outcome:
    """Let jobs come to a cluster until so many have been begun; the first fifth is its warm-up and does not count.

    Args:
        scenario: the cluster.
        costs: what it costs to run it.
        jobs: how many are begun.
        seed: the same makes the same outcome.
    """
    return _Simulation(scenario, costs, random.Random(seed)).run(jobs)


class _Simulation:
    def __init__(self, scenario: Scenario, costs: Costs, chance: random.Random) -> None:
        self._scenario, self._costs, self._chance = scenario, costs, chance
        self._env = simpy.Environment()
        self._redis = simpy.Resource(self._env, capacity=1)
        self._redis_worked = 0.0
        # What signs of life take of Redis's time leaves the rest slower.
        self._redis_left = max(1e-9, 1 - scenario.workers * costs.redis_worker)
        self._redis_job = costs.redis_job + scenario.megabytes * costs.redis_megabyte
        self._waiting: list[_Job] = []
        self._idle: OrderedDict[_Worker, None] = OrderedDict()
        self._begun: list[tuple[float, float, bool]] = []
        self._weights = [1 / rank for rank in range(1, scenario.models + 1)]

    def run(self, jobs: int) -> Outcome:
        self._done = self._env.event()
        self._most = jobs
        for number in range(self._scenario.workers):
            worker = _Worker(self._scenario.held)
            # As after a morning of work: each has some model.
            worker.use(number % self._scenario.models)
            self._env.process(self._work(worker))
        self._env.process(self._arrive())
        self._env.run(self._done)
        counted = self._begun[jobs // 5 :]
        seconds = counted[-1][0] - counted[0][0]
        busy = self._redis_worked / self._env.now + self._scenario.workers * self._costs.redis_worker
        return Outcome(
            waits=[wait for _, wait, _ in counted],
            loads=sum(loaded for _, _, loaded in counted) / len(counted),
            redis_busy=min(1.0, busy),
            rate=len(counted) / seconds,
        )

    def _arrive(self) -> Generator[simpy.Event, Any, None]:
        rate = self._scenario.load * self._scenario.workers / self._scenario.job_seconds
        while True:
            yield self._env.timeout(self._chance.expovariate(rate))
            self._env.process(self._submit())

    def _submit(self) -> Generator[simpy.Event, Any, None]:
        (model,) = self._chance.choices(range(self._scenario.models), self._weights)
        job = _Job(model, self._env.now)
        yield from self._ask_redis(self._redis_job / 2)
        self._waiting.append(job)
        if self._idle:
            self._wake(job)

    def _wake(self, job: _Job) -> None:
        chosen = next(iter(self._idle))
        if self._scenario.routing == "aware":
            chosen = next((worker for worker in self._idle if job.model in worker.models), chosen)
        del self._idle[chosen]
        assert chosen.woken is not None
        chosen.woken.succeed()

    def _work(self, worker: _Worker) -> Generator[simpy.Event, Any, None]:
        while True:
            if not self._waiting:
                worker.woken = self._env.event()
                self._idle[worker] = None
                yield worker.woken
            yield from self._ask_redis(self._redis_job / 2 + self._costs.redis_list * len(self._waiting))
            if not self._waiting:
                continue
            place = self._choose(worker)
            job = self._waiting.pop(place)
            yield from self._ask_redis(self._costs.redis_pass * place)
            held = worker.use(job.model)
            self._take_note(job, loaded=not held)
            yield self._env.timeout((0 if held else self._scenario.load_seconds) + self._work_of_a_job())
            yield self._env.timeout(self._costs.turnaround)

    def _choose(self, worker: _Worker) -> int:
        """The place of the job that a worker takes; those before it are passed over."""
        now, place = self._env.now, 0
        if self._scenario.routing == "aware":
            for number, job in enumerate(self._waiting):
                if job.model in worker.models or (job.passed is not None and now - job.passed > PATIENCE):
                    place = number
                    for passed in self._waiting[:number]:
                        passed.passed = now if passed.passed is None else passed.passed
                    break
        return place

    def _take_note(self, job: _Job, *, loaded: bool) -> None:
        self._begun.append((self._env.now, self._env.now - job.arrived, loaded))
        if len(self._begun) == self._most:
            self._done.succeed()

    def _ask_redis(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        if seconds:
            with self._redis.request() as turn:
                yield turn
                yield self._env.timeout(seconds / self._redis_left)
            self._redis_worked += seconds

    def _work_of_a_job(self) -> float:
        mean, spread = self._scenario.job_seconds, self._scenario.spread
        if spread == 0:
            return mean
        if spread == 1:
            return self._chance.expovariate(1 / mean)
        # The logarithm's variance and mean that give the work its own.
        variance = math.log1p(spread**2)
        return self._chance.lognormvariate(math.log(mean) - variance / 2, variance**0.5)
