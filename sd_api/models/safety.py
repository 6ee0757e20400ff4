"""The content safety filter, for models that come without one of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.device import DeviceChoice
from sd_api.models.loader import explained_loading

# The checker of Stable Diffusion 1.x, published by its authors on its own.
CHECKER_REPO = "CompVis/stable-diffusion-safety-checker"
CHECKER_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


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
    with _explained():
        path = hub.fetch_files(CHECKER_REPO, CHECKER_FILES, token)
        with explained_loading(path):
            checker = StableDiffusionSafetyChecker.from_pretrained(path, dtype=device.torch_dtype)
            return SafetyFilter(checker.to(device.device), CLIPImageProcessor.from_pretrained(path))


def check_safety_filter(token: str | None) -> None:
    """Make sure that the published checker is here or to be had, without fetching it.

    Raises:
        ModelUnavailable: it is neither.
    """
    with _explained():
        if hub.cached_files(CHECKER_REPO, CHECKER_FILES) is None:
            hub.check_exists(CHECKER_REPO, token)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ModelUnavailable as error:
        raise ModelUnavailable(
            "This model has no safety checker of its own. To run it without one, set "
            '"requires_safety_checker": false for it in the configuration. The published checker cannot be had: '
            f"{error.message}"
        ) from None
