"""Which family a loaded model is of. To add a family, write its module and add it here."""

from typing import Any

from diffusers import DiffusionPipeline

from sd_api.errors import ModelUnavailable
from sd_api.models.families.any_pipeline import AnyPipeline
from sd_api.models.families.base import Family
from sd_api.models.families.sd import StableDiffusion
from sd_api.models.families.sdxl import StableDiffusionXL

# The first that matches counts.
FAMILIES: tuple[Any, ...] = (StableDiffusion(), StableDiffusionXL(), AnyPipeline())


def family_of(pipeline: DiffusionPipeline) -> Family:
    """The family of a loaded pipeline.

    Raises:
        ModelUnavailable: No family knows it.
    """
    for family in FAMILIES:
        if family.matches(pipeline):
            found: Family = family
            return found
    raise ModelUnavailable(f"Models for {type(pipeline).__name__} cannot be run by this server.")
