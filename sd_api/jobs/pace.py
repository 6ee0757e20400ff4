"""How long jobs take, as learned from those that were done."""

from collections.abc import Mapping

from sd_api.generation.engine import Progress

# How much the latest job counts beside all before it: much, because what else the machine does changes.
WEIGHT_OF_THE_LATEST = 0.5


class Pace:
    """Seconds for a picture's step and pixel, for each model.

    Args:
        rates: what was learned before.
    """

    def __init__(self, rates: Mapping[str | None, float] | None = None) -> None:
        self._rates: dict[str | None, float] = dict(rates or {})

    def learn(self, model: str | None, work: float, seconds: float) -> None:
        """Take note of how long a request took, without loading its model.

        Args:
            model: the request's, as the next.
            work: see ``GenerationRequest.work``.
            seconds: how long.
        """
        rate = seconds / work
        before = self._rates.get(model, rate)
        self._rates[model] = before + WEIGHT_OF_THE_LATEST * (rate - before)

    def seconds(self, model: str | None, work: float) -> float | None:
        """How long a request will take; None before the first of its model."""
        rate = self._rates.get(model)
        return None if rate is None else rate * work

    def seconds_left(
        self, model: str | None, work: float, progress: Progress | None, worked_seconds: float
    ) -> float | None:
        """How long a running request will still take: by its own steps, once there are some."""
        if progress is not None and progress.step:
            return worked_seconds / progress.step * (progress.steps - progress.step)
        expected = self.seconds(model, work)
        return None if expected is None else max(0.0, expected - worked_seconds)
