"""Runs an engine without a queue."""

from typing import Any

from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job


def generate(engine: Any, request: GenerationRequest) -> GenerationResult:
    """What an engine makes of one request; raises what the job ended with."""
    job = Job(request)
    engine.generate([job])
    return job.result()
