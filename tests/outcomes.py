"""What becomes of a model's files: loaded, or refused with a reason, by the check and by loading alike."""

from pathlib import Path
from typing import Any

from sd_api.errors import ModelUnavailable
from sd_api.models.device import choose_device
from sd_api.models.loader import check_pipeline, load_pipeline
from sd_api.models.sources import parse_source
from sd_api.settings import Limits, ModelSettings


def outcome(path: Path, *, half: bool = False, **settings: Any) -> tuple[str | None, Any]:
    """Why a model is refused, by the check and by loading alike, and the model where it is not."""
    device = choose_device("cpu", "bf16" if half else "fp32")
    given: Any = (parse_source(path), device, None, Limits(), ModelSettings.model_validate(settings))
    said: list[str | None] = []
    loaded = None
    for attempt in (check_pipeline, load_pipeline):
        try:
            loaded = attempt(*given)
            said.append(None)
        except ModelUnavailable as error:
            said.append(error.message)
    assert said[0] == said[1], "the check and loading disagree"
    return said[0], loaded
