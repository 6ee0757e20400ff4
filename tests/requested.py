"""A small request, for tests that care how it travels rather than what it asks for."""

from sd_api.generation.request import GenerationRequest
from sd_api.settings import Limits


def request(prompt: str = "a dog", steps: int = 1) -> GenerationRequest:
    """One picture of 64 x 64 pixels with seed 7."""
    return GenerationRequest(
        prompt=prompt,
        seeds=(7,),
        width=64,
        height=64,
        num_inference_steps=steps,
        guidance_scale=7.5,
        limits=Limits(),
    )
