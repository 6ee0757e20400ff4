"""Images that a model sees beside the one that it changes, or that its picture takes after."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from sd_api.generation.examples import LANDSCAPE
from sd_api.generation.fields import Param
from sd_api.generation.images import ImageRef

# Of one request; models see a few at once.
MAX_REFERENCES = 10

MAX_WEIGHT = 2.0


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One image, with what is said of it; see ``Field.entry``."""

    image: Annotated[
        ImageRef,
        Param(
            label="Image",
            description="The image.",
            example=LANDSCAPE,
            per_image=True,
            control="image",
        ),
    ]
    adapter: Annotated[
        str | None,
        Param(
            label="Adapter",
            description="The IP-Adapter (arXiv:2308.06721) by which Stable Diffusion sees it, by its name in /models; "
            "the first that fits the model where none is named. Other models see it by themselves.",
            example=None,
            longest="max_prompt_length",
            names="ip_adapters",
            per_image=True,
            requires="ip_adapters",
            control="line",
        ),
    ] = None
    weight: Annotated[
        float,
        Param(
            label="Weight",
            description="How much an adapter adds to the picture.",
            example=0.6,
            low=0,
            high=MAX_WEIGHT,
            per_image=True,
            requires="ip_adapters",
            control="slider",
            step=0.05,
        ),
    ] = 1.0
    start: Annotated[
        float,
        Param(
            label="Start",
            description="The share of the steps after which an adapter begins to act.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
            requires="ip_adapters",
            control="slider",
            step=0.05,
        ),
    ] = 0.0
    end: Annotated[
        float,
        Param(
            label="End",
            description="The share of the steps after which it acts no more.",
            example=1.0,
            low=0,
            high=1,
            per_image=True,
            requires="ip_adapters",
            control="slider",
            step=0.05,
        ),
    ] = 1.0

    @property
    def problem(self) -> str | None:
        """What is wrong with it, as the end of a sentence that begins with ``start``."""
        return None if self.start <= self.end else f"is {self.start:g}; it must be at most end, which is {self.end:g}"

    @property
    def of_adapters(self) -> bool:
        """Whether it says what only adapters do."""
        return self.adapter is not None or (self.weight, self.start, self.end) != (1.0, 0.0, 1.0)

    def __str__(self) -> str:
        """For the parameters text of a picture; the image as the beginning of its hash."""
        about = f"{self.adapter or 'image'} {hashlib.sha256(self.image.content).hexdigest()[:10]}"
        return f"{about} {self.weight:g} {self.start:g}-{self.end:g}" if self.of_adapters else about
