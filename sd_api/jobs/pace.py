"""How long jobs take, as learned from those that were done."""

from sd_api.generation.request import GenerationRequest
from sd_api.jobs.job import Job

# How much the latest job counts beside all before it: much, because what else the machine does changes.
WEIGHT_OF_THE_LATEST = 0.5


class Pace:
    """Seconds for a picture's step and pixel, for each model."""

    def __init__(self) -> None:
        self._rates: dict[str | None, float] = {}

    def learn(self, request: GenerationRequest, seconds: float) -> None:
        """Take note of how long a request took, without loading its model."""
        rate = seconds / request.work
        before = self._rates.get(request.model, rate)
        self._rates[request.model] = before + WEIGHT_OF_THE_LATEST * (rate - before)

    def seconds(self, request: GenerationRequest) -> float | None:
        """How long a request will take; None before the first of its model."""
        rate = self._rates.get(request.model)
        return None if rate is None else rate * request.work

    def seconds_left(self, job: Job) -> float | None:
        """How long a running job will still take: by its own steps, once there are some."""
        progress, seconds = job.status().progress, job.working_seconds()
        if progress is not None and progress.step:
            return seconds / progress.step * (progress.steps - progress.step)
        expected = self.seconds(job.request)
        return None if expected is None else max(0.0, expected - seconds)
