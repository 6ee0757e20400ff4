"""FLUX.1 Depth and Canny, which were trained to follow a map: it is a further input in each step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.models.components import Parts
from sd_api.models.families.flux import Flux
from sd_api.models.families.start import Kept
from sd_api.models.families.transformer import Published
from sd_api.models.families.transformer_control import latents_of_map
from sd_api.models.families.transformer_rows import Conditioning, TransformerStart
from sd_api.models.families.transformer_words import REFERENCES

_PUBLISHED = Published(modes=("txt2img",), steps=30, guidance=10.0)


@dataclass(frozen=True, kw_only=True)
class _Following(TransformerStart):
    """See TransformerStart; the map comes before the noise."""

    def begin(self, scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        """See Start."""
        (followed,) = self.operation.references
        shown = followed.image.pixels.resize(self.operation.size, Image.Resampling.LANCZOS)
        channels = self.encode(shown, latents_of=latents_of_map)
        return self.noise(), channels, None


class FluxControl(Flux):
    """See Family: its one reference is the map."""

    name = "FLUX.1 Depth, Canny"
    pipelines = dict.fromkeys(("FluxControlPipeline",), _PUBLISHED)
    capabilities = (REFERENCES,)

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """See TransformerFamily: guidance is an input, and nothing else."""
        return False

    def encode(self, parts: Parts, operation: Operation, look_alive: Callable[[], None] = lambda: None) -> Conditioning:
        """See Family.

        Raises:
            OutOfLimits: There is no map, or more than one.
        """
        if (count := len(operation.references)) != 1:
            raise OutOfLimits("references", f"has {count} images; this model follows one, a map of depths or edges")
        return super().encode(parts, operation, look_alive)

    def beginning(self, **values: Any) -> TransformerStart:
        """See LatentFamily."""
        return _Following(**values)
