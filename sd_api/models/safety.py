"""The content safety filter, for models that come without one of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.component import Component
from sd_api.models.device import DeviceChoice
from sd_api.models.files import find_component_faults
from sd_api.models.loader import explained_loading, refuse
from sd_api.models.part_loading import load_part
from sd_api.models.precision import Precision
from sd_api.settings import Limits

# The checker of Stable Diffusion 1.x, published by its authors on its own.
CHECKER_REPO = "CompVis/stable-diffusion-safety-checker"
CHECKER_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
_CHECKER_CLASS = ("stable_diffusion", "StableDiffusionSafetyChecker")


@dataclass(frozen=True)
class SafetyFilter:
    """What flags pictures.

    Attributes:
        checker: The network that compares a picture with unwanted concepts.
        feature_extractor: Scales and normalizes pictures for it.
    """

    checker: Component
    feature_extractor: Any


def take_safety_filter(pipeline: Any) -> SafetyFilter | None:
    """Take a model's own filter out of its pipeline; None where it came without one, or with one of another kind."""
    checker = pipeline.components.get("safety_checker")
    if not isinstance(checker, StableDiffusionSafetyChecker):
        return None
    found = SafetyFilter(Component("safety_checker", checker), pipeline.feature_extractor)
    pipeline.register_modules(safety_checker=None, feature_extractor=None)
    return found


def fetch_safety_filter(device: DeviceChoice, token: str | None, limits: Limits) -> SafetyFilter:
    """Load the published checker from this machine's cache, or from the hub.

    Raises:
        ModelUnavailable: it is neither here nor to be had.
    """
    with _explained():
        path = hub.fetch_files(CHECKER_REPO, CHECKER_FILES, token, limits)
        refuse(find_component_faults(path, *_CHECKER_CLASS))
        with explained_loading(path):
            checker = load_part(path, *_CHECKER_CLASS, Precision(device.torch_dtype))
            extractor = CLIPImageProcessor.from_pretrained(path, local_files_only=True)
            return SafetyFilter(Component("safety_checker", checker), extractor)


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
