"""Runs an engine without a queue, and spoils what its parts give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job


def generate(engine: Any, request: GenerationRequest) -> GenerationResult:
    """What an engine makes of one request; raises what the job ended with."""
    job = Job(request)
    engine.generate([job])
    return job.result()


def parts(engine: Any) -> Any:
    """The pipeline that holds the main model's parts."""
    return engine._library.get(None).base


@contextmanager
def after_call(module: torch.nn.Module, number: int, spoil: Callable[[Any], Any]) -> Iterator[None]:
    """Let ``spoil`` change what a part of the pipeline gives in its ``number``-th call, counted from 1."""
    calls = 0

    def hook(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        return spoil(output) if calls == number else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
