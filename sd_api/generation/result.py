"""What comes back from an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Placement:
    """Where a layer or a patch lies on its canvas, in pixels.

    Attributes:
        x: its left edge.
        y: its upper edge.
        width: that of the canvas.
        height: that of the canvas.
    """

    x: int
    y: int
    width: int
    height: int

    def as_json(self) -> dict[str, Any]:
        """The properties that clients get beside the picture."""
        return {"offset": {"x": self.x, "y": self.y}, "canvas": {"width": self.width, "height": self.height}}


@dataclass(frozen=True)
class GeneratedImage:
    """One picture.

    Attributes:
        png: the encoded picture: RGB, of exactly the size that was asked for; a layer or a patch is RGBA.
        seed: the seed that made it.
        nsfw: whether the safety filter flagged it; what was drawn of a flagged picture is black.
        variation_seed: the seed of its second noise; None without variations.
        placement: where a layer or a patch lies; None for a whole picture.
    """

    png: bytes
    seed: int
    nsfw: bool
    variation_seed: int | None = None
    placement: Placement | None = None


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of one request, in the order of its seeds.

    Attributes:
        images: one for each seed.
        warnings: what had to be done in a lesser way, in words for the person who asked.
        chosen: the values that the model chose where the request named none, by the canonical names of fields.
    """

    images: tuple[GeneratedImage, ...]
    warnings: tuple[str, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
