"""Estimates of how long jobs take, learned from finished jobs."""

import math
from collections.abc import Iterable, Mapping
from statistics import median, quantiles
from types import MappingProxyType
from typing import NamedTuple

from sd_api.generation.engine import Progress
from sd_api.generation.operation import OperationName
from sd_api.generation.spec import JobSpec

# The latest jobs of a kind that count: few, because the load of the machine changes.
HISTORY = 16

# What the fixed costs of a job are taken for, in units of work, until jobs of different sizes have shown them: those of
# ten steps on 512 x 512 pixels.
ASSUMED_OVERHEAD = 10 * 512 * 512

# Jobs whose work differs by less than this factor say nothing about the rate.
DIFFERENT = 2


# So many of the latest jobs say that the pace has changed, if all of them differ in one direction by more than a share
# from what the others let expect: fewer may be odd ones.
LATEST, ALIKE = 3, 0.1


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


class Duration(NamedTuple):
    """How long a job will have the device, in seconds.

    Attributes:
        expected: The estimate.
        least: The lower end of its range.
        most: The upper end of its range.
        of_others: Whether it follows from the jobs of another model.
    """

    expected: float
    least: float
    most: float
    of_others: bool = False


class WorkRates:
    """For each kind of job its fixed seconds, and its seconds per unit of work as ``JobSpec.work`` counts it.

    Args:
        history: The timings so far, the latest last.
    """

    def __init__(self, history: Mapping[JobKind, Iterable[Timing]] | None = None) -> None:
        self._history = {kind: list(timings) for kind, timings in (history or {}).items()}

    def learn(self, kind: JobKind, timing: Timing) -> None:
        """Take note of a finished job; one on which the engine has not worked says nothing."""
        if timing.seconds > 0:
            self._history[kind] = [*self._history.get(kind, ()), timing][-HISTORY:]

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
        overhead, rate = _fit(timings)
        ratios = [timing.seconds / (overhead + rate * timing.work) for timing in timings]
        low, *_, high = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else (1.0, 1.0)
        margin, pace = 1 + 1 / len(timings), _pace(ratios[-LATEST:])
        usual = overhead + rate * work + finishing
        expected = pace * usual
        return Duration(expected, min(low * usual, expected / margin), max(high * usual, expected * margin))

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


def _pace(ratios: list[float]) -> float:
    """What the latest jobs took by what was expected of them; 1 where they do not agree that the pace has changed."""
    slower, faster = min(ratios) > 1 + ALIKE, max(ratios) < 1 - ALIKE
    return median(ratios) if len(ratios) == LATEST and (slower or faster) else 1.0


def _fit(timings: list[Timing]) -> tuple[float, float]:
    """The fixed seconds and the seconds per unit of work; medians (Theil-Sen), so that few odd jobs change nothing."""
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
