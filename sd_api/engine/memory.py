"""What the engine does where a stage does not fit into memory, and how it says so."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from sd_api.engine.active import ActiveJob
from sd_api.errors import OutOfMemory, generation_failure
from sd_api.generation.plan import area
from sd_api.generation.spec import JobSpec
from sd_api.models.library import ModelLibrary
from sd_api.models.memory import free_memory, is_out_of_memory, out_of_memory_as_ours

log = logging.getLogger(__name__)

Value = TypeVar("Value")


def with_room(library: ModelLibrary, stage: Callable[[], Value]) -> Value:
    """Run one stage; where memory runs out, as often as there is a slower way to have more of it.

    Raises:
        OutOfMemory: There is no slower way.
    """
    while True:
        try:
            with torch.inference_mode(), out_of_memory_as_ours():
                return stage()
        except OutOfMemory:
            free_memory()
            if not (library.make_room() or library.slow_down()):
                raise


def fail(job: ActiveJob, error: Exception) -> None:
    """End a job with what went wrong; where memory ran out, nothing is left that could be made smaller."""
    if isinstance(error, OutOfMemory) or is_out_of_memory(error):
        free_memory()
        error = _nothing_smaller(job.spec)
    job.fail(generation_failure(log, error, job.run.spec.operation.name))


def _nothing_smaller(spec: JobSpec) -> OutOfMemory:
    width, height = max(spec.plan.forwards, key=area)
    return OutOfMemory(
        f"There is not enough memory for a picture of {width}×{height}, not even for one at a "
        "time. Try a smaller size, close other programs that use the GPU, or set "
        '"device": "cpu" in the configuration.'
    )
