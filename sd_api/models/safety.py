"""The content safety filter, for models that come without one of their own."""

from dataclasses import dataclass
from typing import Any

from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.device import DeviceChoice

# The checker of Stable Diffusion 1.x, published by its authors on its own.
CHECKER_REPO = "CompVis/stable-diffusion-safety-checker"


@dataclass(frozen=True)
class SafetyFilter:
    """The two parts that together flag a picture and blacken it; both None switch the filter off."""

    safety_checker: Any
    feature_extractor: Any


OFF = SafetyFilter(None, None)


def fetch_safety_filter(device: DeviceChoice, token: str | None) -> SafetyFilter:
    """Load the published checker from this machine's cache, or from the hub.

    Raises:
        ModelUnavailable: it is neither here nor to be had.
    """
    try:
        path = hub.fetch_files(CHECKER_REPO, token)
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"This model has no safety checker of its own, and the published one cannot be had: {error.message} "
            'To run this model without the filter, set "requires_safety_checker": false for it in the configuration.'
        ) from None
    checker = StableDiffusionSafetyChecker.from_pretrained(path, dtype=device.torch_dtype)
    return SafetyFilter(checker.to(device.device), CLIPImageProcessor.from_pretrained(path))
