"""A small job, for tests that care how it travels rather than what it asks for."""

from typing import Any

from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits


def request(prompt: str = "a dog", steps: int = 1, **job: Any) -> JobSpec:
    """One picture of 64 x 64 pixels with seed 7; ``job`` may change its seeds and its model."""
    limits = Limits()
    operation = TextToImage(prompt=prompt, width=64, height=64, steps=steps, guidance=7.5, limits=limits)
    return JobSpec(operation=operation, limits=limits, **{"seeds": (7,), **job})
