"""Estimates of how long jobs take, learned from finished jobs."""

import math
from collections.abc import Iterable, Mapping
from statistics import median, quantiles
from types import MappingProxyType
from typing import NamedTuple

from sd_api.generation.engine import Duration, Progress
from sd_api.generation.operation import OperationName
from sd_api.generation.spec import JobSpec

# The latest jobs of a kind that count: few, because the load of the machine changes.
HISTORY = 24

# What the fixed costs of a job are taken for, in units of work, until jobs of different sizes have shown them: those of
# ten steps on 512 x 512 pixels.
ASSUMED_OVERHEAD = 10 * 512 * 512

# Jobs whose work differs by less than this factor say nothing about the rate.
DIFFERENT = 2

# The pace has changed where so many of the latest jobs, or more, differ from those before them by a share, and by more
# standard errors than chance lets expect of the likeliest of all splits.
LATEST, ALIKE, ERRORS = 3, 0.1, 5
# How often it may have changed within the history, and the least that jobs are taken to vary by, as a share.
CHANGES, LEAST_NOISE = 2, 0.02

# A job counts in full where it differs by less than so many standard deviations from what is expected of it, and the
# less the farther it is off (Huber, 1964), found in so many rounds.
HUBER, ROUNDS = 1.345, 8
# The standard deviation of normal noise by the median of its absolute values.
DEVIATION = 1.4826
_EXACT = 1e-9

# How much better or worse another model may use a device than its arithmetic lets expect: its layers are wider or
# narrower, its weights may be moved in each step, and it may make one prediction where the other makes two.
UNLIKE = 3

NOTHING_KNOWN: Mapping[str | None, float] = MappingProxyType({})


class JobKind(NamedTuple):
    """What jobs have in common that take a similar time for the same work.

    Attributes:
        model: The model's name; None is the main model.
        operation: What they do.
        device: Where they ran, see EngineStatus; None where there is only one, or where any may do.
    """

    model: str | None
    operation: OperationName
    device: str | None = None


class Timing(NamedTuple):
    """A finished job.

    Attributes:
        work: Its ``JobSpec.work``.
        seconds: How long it had the device, without loading its model and without finishing its canvas.
    """

    work: float
    seconds: float

    @classmethod
    def of(cls, spec: JobSpec, seconds: float) -> "Timing":
        """The timing of a job that took so many seconds; finishing its canvas counts for half of them at most."""
        return cls(spec.work, max(seconds - spec.finishing, seconds / 2))


class WorkRates:
    """For each kind of job its fixed seconds, and its seconds per unit of work as ``JobSpec.work`` counts it.

    Args:
        history: The timings so far, the latest last.
    """

    def __init__(self, history: Mapping[JobKind, Iterable[Timing]] | None = None) -> None:
        self._history = {kind: list(timings) for kind, timings in (history or {}).items()}
        # Each job that waits is asked for again and again.
        self._fits: dict[JobKind, tuple[float, float]] = {}

    def learn(self, kind: JobKind, timing: Timing) -> None:
        """Take note of a finished job; one on which the engine has not worked says nothing."""
        if timing.seconds > 0:
            self._history[kind] = [*self._history.get(kind, ()), timing][-HISTORY:]
            self._fits.clear()

    def seconds(self, kind: JobKind, work: float, finishing: float = 0.0) -> float | None:
        """The estimated seconds of a job; see ``duration``."""
        duration = self.duration(kind, work, finishing)
        return None if duration is None else duration.expected

    def duration(
        self, kind: JobKind, work: float, finishing: float = 0.0, flops: Mapping[str | None, float] = NOTHING_KNOWN
    ) -> Duration | None:
        """The estimated seconds of a job with their range; None if no job of its model has finished yet.

        The range is as wide as eight of ten finished jobs lay around their estimates, and wider while there are few.

        Args:
            kind: Of the job.
            work: Its ``JobSpec.work``.
            finishing: Its ``JobSpec.finishing``.
            flops: What models compute for each pixel, by their names: by it, where no job of the model has finished,
                the pace of the most similar other model is taken.
        """
        timings = self._closest(kind)
        if not timings:
            return self._of_others(kind, work, finishing, flops)
        if kind not in self._fits:
            self._fits[kind] = _fit_present(timings)
        overhead, rate = self._fits[kind]
        ratios = [timing.seconds / (overhead + rate * timing.work) for timing in timings]
        low, *_, high = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else (1.0, 1.0)
        margin, expected = 1 + 1 / len(timings), overhead + rate * work + finishing
        return Duration(expected, min(low * expected, expected / margin), max(high * expected, expected * margin))

    def _of_others(
        self, kind: JobKind, work: float, finishing: float, flops: Mapping[str | None, float]
    ) -> Duration | None:
        measured = {other.model for other in self._history if flops.get(other.model)}
        if not measured or not (own := flops.get(kind.model)):
            return None
        nearest = min(measured, key=lambda model: abs(math.log(flops[model] / own)))
        found, factor = self.duration(kind._replace(model=nearest), work), own / flops[nearest]
        assert found is not None  # noqa: S101 - it has timings
        return Duration(
            factor * found.expected + finishing,
            factor * found.least / UNLIKE + finishing,
            factor * found.most * UNLIKE + finishing,
            of_others=True,
        )

    def seconds_left(
        self, kind: JobKind, work: float, progress: Progress | None, worked_seconds: float, finishing: float = 0.0
    ) -> float | None:
        """The estimated seconds left of a running job, more and more from its own steps."""
        return seconds_left(progress, worked_seconds, self.seconds(kind, work, finishing))

    def _closest(self, kind: JobKind) -> list[Timing]:
        """The timings of this kind, else of its operation on any device, else of its model."""
        same_model = {other: timings for other, timings in self._history.items() if other.model == kind.model}
        same_operation = [timings for other, timings in same_model.items() if other.operation == kind.operation]
        if kind in same_model:
            return same_model[kind]
        return [timing for timings in same_operation or same_model.values() for timing in timings]


def seconds_left(progress: Progress | None, worked_seconds: float, expected: float | None) -> float | None:
    """The estimated seconds left of a running job, more and more from its own steps.

    Args:
        progress: its last step.
        worked_seconds: how long the engine has worked on it.
        expected: the estimate for the whole job; None if there is none.
    """
    left = None if expected is None else max(0.0, expected - worked_seconds)
    if progress is None or not progress.step:
        return left
    by_its_steps = worked_seconds / progress.step * (progress.steps - progress.step)
    if left is None:
        return by_its_steps
    # The first steps take longer than the others: they include what is done once.
    done = progress.step / progress.steps
    return done * by_its_steps + (1 - done) * left


def _fit_present(timings: list[Timing]) -> tuple[float, float]:
    """The fit at the present pace: jobs before a change show what is fixed of the costs, those since then the level."""
    for _ in range(CHANGES):
        overhead, rate = _fit(timings)
        change = _change([math.log(timing.seconds / (overhead + rate * timing.work)) for timing in timings])
        if change is None:
            return overhead, rate
        since, factor = change
        before = [Timing(timing.work, timing.seconds * factor) for timing in timings[:since]]
        timings = before + timings[since:]
    return _fit(timings)


def _change(logs: list[float]) -> tuple[int, float] | None:
    """The first job since the likeliest change of pace, and what those before it must be multiplied by.

    Args:
        logs: The logarithm of what each job took by what is expected of it.
    """
    found, most = None, float(ERRORS)
    for since in range(LATEST, len(logs) - LATEST + 1):
        before, after = median(logs[:since]), median(logs[since:])
        spread = [abs(each - before) for each in logs[:since]] + [abs(each - after) for each in logs[since:]]
        noise = max(DEVIATION * median(spread), LEAST_NOISE)
        errors = abs(after - before) / (noise * math.sqrt(1 / since + 1 / (len(logs) - since)))
        # As many in a row: a few odd jobs can lie on both sides of one that is not.
        agree = all(abs(each - after) < abs(each - before) for each in logs[since : since + LATEST])
        if agree and abs(after - before) > ALIKE and errors > most:
            found, most = (since, math.exp(after - before)), errors
    return found


def _fit(timings: list[Timing]) -> tuple[float, float]:
    """The fixed seconds and the seconds per unit of work, with the least relative deviations; odd jobs hardly count."""
    works = [timing.work for timing in timings]
    differ = max(works) >= DIFFERENT * min(works)
    overhead, rate = _begun(timings)
    for _ in range(ROUNDS if differ else 0):
        expected = [overhead + rate * work for work in works]
        off = [abs(timing.seconds / each - 1) for timing, each in zip(timings, expected, strict=True)]
        full = HUBER * DEVIATION * median(off) + _EXACT
        weights = [full / max(full, share) / each**2 for share, each in zip(off, expected, strict=True)]
        overhead, rate = _line(timings, weights)
    return overhead, rate


def _line(timings: list[Timing], weights: list[float]) -> tuple[float, float]:
    """The line of least weighted squares whose two numbers are not negative."""
    weighted = list(zip(timings, weights, strict=True))
    total = sum(weights)
    work = sum(weight * timing.work for timing, weight in weighted) / total
    seconds = sum(weight * timing.seconds for timing, weight in weighted) / total
    apart = sum(weight * (timing.work - work) ** 2 for timing, weight in weighted)
    together = sum(weight * (timing.work - work) * (timing.seconds - seconds) for timing, weight in weighted)
    rate = together / apart
    if rate < 0:
        return seconds, 0.0
    if seconds < rate * work:
        # Through the origin.
        square = sum(weight * timing.work**2 for timing, weight in weighted)
        return 0.0, sum(weight * timing.work * timing.seconds for timing, weight in weighted) / square
    return seconds - rate * work, rate


def _begun(timings: list[Timing]) -> tuple[float, float]:
    """A first fit, by medians alone (Theil-Sen): far from the best one, but few odd jobs change nothing."""
    slopes = [
        (large.seconds - small.seconds) / (large.work - small.work)
        for small in timings
        for large in timings
        if large.work >= DIFFERENT * small.work
    ]
    if slopes:
        rate = max(0.0, median(slopes))
    else:
        rate = median(timing.seconds / (timing.work + ASSUMED_OVERHEAD) for timing in timings)
    overhead = median(timing.seconds - rate * timing.work for timing in timings)
    if overhead < 0:
        return 0.0, median(timing.seconds / timing.work for timing in timings)
    return overhead, rate
