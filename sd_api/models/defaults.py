"""The values that a model's requests get for fields that they do not name."""

from typing import Any

from sd_api.models.sources import ModelFile, ModelSource
from sd_api.models.state_dict import WeightFile
from sd_api.models.traits import titles_of, traits_of_name
from sd_api.settings import ModelSettings

# The names of the settings, and of the fields that they are the defaults of.
_FIELDS = {"scheduler": "scheduler", "steps": "steps", "guidance_scale": "guidance", "clip_skip": "clip_skip"}


def configured_defaults(settings: ModelSettings) -> dict[str, Any]:
    """What the configuration says, by the canonical names of the fields."""
    values = {field: getattr(settings, name) for name, field in _FIELDS.items()}
    return {field: value for field, value in values.items() if value is not None}


def published_defaults(source: ModelSource) -> dict[str, Any]:
    """What the publishers of models for few steps say, by the canonical names of the fields.

    Args:
        source: a model with a UNet, whose name, title or metadata say what it was made for.
    """
    titles = titles_of(WeightFile(source.path).header) if isinstance(source, ModelFile) else [source.label]
    return traits_of_name(*titles).defaults
