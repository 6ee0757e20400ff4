"""Jobs for the benchmarks, and how an engine makes them without a queue."""

from collections.abc import Sequence
from typing import Any

from sd_api.generation.engine import Engine
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.settings import Limits

LIMITS = Limits()
PROMPT = "a dog on a blue background"
GUIDANCE = 7.5


def text_to_image(size: int, steps: int, *, seeds: Sequence[int] = (7,), **fields: Any) -> JobSpec:
    """Square pictures of a dog; ``fields`` are further fields of the operation, or others for these."""
    fields = {"prompt": PROMPT, "guidance": GUIDANCE, **fields}
    operation = TextToImage(width=size, height=size, steps=steps, limits=LIMITS, **fields)
    return JobSpec(operation=operation, seeds=tuple(seeds), limits=LIMITS)


class GivenJobs:
    """A feed of jobs that are there from the start."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def poll(self, at_once: int, *, active: bool) -> Sequence[Job]:  # noqa: ARG002 - a protocol's arguments
        """See Feed."""
        jobs, self._jobs = self._jobs, ()
        return jobs

    def wait(self, at_once: int) -> Sequence[Job]:  # noqa: ARG002 - a protocol's argument
        """See Feed."""
        return ()


def make(engine: Engine, *jobs: Job) -> None:
    """Let an engine make jobs, together as far as they may share forwards; raises what one ended with."""
    engine.serve(GivenJobs(jobs))
    for job in jobs:
        job.result()
