"""Images that a model sees beside the one that it changes, or that its picture takes after."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from sd_api.generation.acting import ActsInSteps, End, Start, Weight
from sd_api.generation.examples import LANDSCAPE
from sd_api.generation.fields import Param
from sd_api.generation.images import ImageRef

# Of one request; models see a few at once.
MAX_REFERENCES = 10


@dataclass(frozen=True, kw_only=True)
class Reference(ActsInSteps):
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
            description="The IP-Adapter (arXiv:2308.06721) by which Stable Diffusion and FLUX.1 see it, by its name in "
            "/models; the first that fits the model where none is named. Other models see it by themselves.",
            example=None,
            longest="max_prompt_length",
            names="ip_adapters",
            per_image=True,
            requires="ip_adapters",
            control="line",
        ),
    ] = None
    weight: Weight = 1.0
    start: Start = 0.0
    end: End = 1.0

    @property
    def of_adapters(self) -> bool:
        """Whether it says what only adapters do."""
        return self.adapter is not None or (self.weight, self.start, self.end) != (1.0, 0.0, 1.0)

    def __str__(self) -> str:
        """For the parameters text of a picture; the image as the beginning of its hash."""
        about = f"{self.adapter or 'image'} {hashlib.sha256(self.image.content).hexdigest()[:10]}"
        return f"{about} {self.weight:g} {self.start:g}-{self.end:g}" if self.of_adapters else about
