"""What a ControlNet (arXiv:2302.05543) or a T2I adapter (arXiv:2302.08453) is to follow, as plain data."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from sd_api.generation.examples import LANDSCAPE
from sd_api.generation.fields import Param
from sd_api.generation.images import ImageRef
from sd_api.imaging.controls import KINDS, PREPROCESSORS, WITH_WEIGHTS
from sd_api.settings import Limits

Resize = Literal["stretch", "crop", "fill"]

# Each one costs about half as much as the model itself.
MAX_CONTROLS = 4

# Programs offer at most twice the strength that a ControlNet was trained with.
MAX_CONTROL_WEIGHT = 2.0

# As other programs write them into their pictures.
_RESIZE_MODES = {"stretch": "Just Resize", "crop": "Crop and Resize", "fill": "Resize and Fill"}


def _preprocessor_problem(name: str, _limits: Limits) -> str | None:
    # Other programs' names say which network it is, such as depth_midas.
    if WITH_WEIGHTS.isdisjoint(name.lower().split("_")):
        return None
    return f"is {name[:40]}, a network that this server does not have; send the finished map with the preprocessor none"


@dataclass(frozen=True, kw_only=True)
class Control:
    """One map that acts on a picture; see ``Field.entry``."""

    model: Annotated[
        str,
        Param(
            label="Model",
            description="The ControlNet or T2I adapter that follows it, by its name in /models.",
            example="canny",
            longest="max_prompt_length",
            names="controlnets",
            per_image=True,
            control="line",
        ),
    ]
    image: Annotated[
        ImageRef | None,
        Param(
            label="Image",
            description="What is followed; the image of the request itself where none is sent.",
            example=LANDSCAPE,
            per_image=True,
            control="image",
        ),
    ] = None
    preprocessor: Annotated[
        str,
        Param(
            label="Preprocessor",
            description="What is made of the image first; with none it is the finished map.",
            example="canny",
            choices=tuple(PREPROCESSORS),
            labels=tuple(each.label for each in PREPROCESSORS.values()),
            check=_preprocessor_problem,
            per_image=True,
            control="choice",
        ),
    ] = "none"
    weight: Annotated[
        float,
        Param(
            label="Weight",
            description="The factor of what it adds to the model's layers.",
            example=0.8,
            low=0,
            high=MAX_CONTROL_WEIGHT,
            per_image=True,
            control="slider",
            step=0.05,
        ),
    ] = 1.0
    start: Annotated[
        float,
        Param(
            label="Start",
            description="The share of the steps after which it begins to act.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
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
            control="slider",
            step=0.05,
        ),
    ] = 1.0
    resize: Annotated[
        str,
        Param(
            label="Resize",
            description="How an image of another shape is brought to the size of the picture: stretched, its middle "
            "cut out, or its edge repeated around it.",
            example="stretch",
            choices=get_args(Resize),
            labels=("Stretch", "Cut out the middle", "Repeat the edge"),
            per_image=True,
            control="choice",
        ),
    ] = "stretch"
    kind: Annotated[
        str | None,
        Param(
            label="Kind",
            description="What the map shows, for models that know several kinds; it follows from the preprocessor "
            "where it is not said.",
            example="canny",
            choices=KINDS,
            per_image=True,
            control="choice",
        ),
    ] = None

    @property
    def shown(self) -> str | None:
        """What the map shows; None where that is not said."""
        return self.kind or PREPROCESSORS[self.preprocessor].kind

    def acts(self, step: int, steps: int) -> bool:
        """Whether it acts in a step, as diffusers' pipelines decide it.

        Args:
            step: Counted from 0.
            steps: All that are made.
        """
        return step / steps >= self.start and (step + 1) / steps <= self.end

    @property
    def problem(self) -> str | None:
        """What is wrong with it, as the end of a sentence that begins with ``start``."""
        return None if self.start <= self.end else f"is {self.start:g}; it must be at most end, which is {self.end:g}"

    def text(self) -> str:
        """How it acted, as the web UI's extension writes it into the parameters text."""
        pairs = {
            "Module": self.preprocessor,
            "Model": self.model,
            "Weight": self.weight,
            "Resize Mode": _RESIZE_MODES[self.resize],
            "Pixel Perfect": True,
            "Guidance Start": self.start,
            "Guidance End": self.end,
            "Control Mode": "Balanced",
        }
        return ", ".join(f"{key}: {value}" for key, value in pairs.items())
