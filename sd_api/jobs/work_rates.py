"""Estimates of how long jobs take, learned from finished jobs."""

from collections.abc import Mapping

from sd_api.generation.engine import Progress

# The latest job's weight in the moving average: high, because the load of the machine changes.
LATEST_WEIGHT = 0.5


class WorkRates:
    """The rate of each model: seconds per unit of work, as ``JobSpec.work`` counts it.

    Args:
        rates: the rates so far, by the model's name; None is the main model.
    """

    def __init__(self, rates: Mapping[str | None, float] | None = None) -> None:
        self._rates: dict[str | None, float] = dict(rates or {})

    def learn(self, model: str | None, work: float, seconds: float) -> None:
        """Update a model's rate with a finished job.

        Args:
            model: the name of the job's model; None is the main model.
            work: the job's ``JobSpec.work``.
            seconds: how long the job took, without loading its model.
        """
        rate = seconds / work
        before = self._rates.get(model, rate)
        self._rates[model] = before + LATEST_WEIGHT * (rate - before)

    def seconds(self, model: str | None, work: float) -> float | None:
        """The estimated seconds of a job; None if no job of its model has finished yet."""
        rate = self._rates.get(model)
        return None if rate is None else rate * work

    def seconds_left(
        self, model: str | None, work: float, progress: Progress | None, worked_seconds: float
    ) -> float | None:
        """The estimated seconds left of a running job, from its own steps as soon as one is done."""
        own = seconds_left(progress, worked_seconds)
        if own is not None:
            return own
        expected = self.seconds(model, work)
        return None if expected is None else max(0.0, expected - worked_seconds)


def seconds_left(progress: Progress | None, worked_seconds: float) -> float | None:
    """The estimated seconds left of a running job by its own steps; None before the first."""
    if progress is None or not progress.step:
        return None
    return worked_seconds / progress.step * (progress.steps - progress.step)
