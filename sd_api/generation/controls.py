"""What a ControlNet (arXiv:2302.05543) or a T2I adapter (arXiv:2302.08453) is to follow, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from sd_api.generation.acting import ActsInSteps, End, Start, Weight
from sd_api.generation.examples import LANDSCAPE
from sd_api.generation.fields import Param
from sd_api.generation.images import ImageRef
from sd_api.imaging.controls import KINDS, PREPROCESSORS, WITH_WEIGHTS
from sd_api.settings import Limits

Resize = Literal["stretch", "crop", "fill"]

# Each one costs about half as much as the model itself.
MAX_CONTROLS = 4

# As other programs write them into their pictures.
_RESIZE_MODES = {"stretch": "Just Resize", "crop": "Crop and Resize", "fill": "Resize and Fill"}
CONTROL_MODES: Mapping[str, str] = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}
"""Which of the two decides where a prompt and a map disagree, with other programs' names."""


def _preprocessor_problem(name: str, _limits: Limits) -> str | None:
    # Other programs' names say which network it is, such as depth_midas.
    if WITH_WEIGHTS.isdisjoint(name.lower().split("_")):
        return None
    return f"is {name[:40]}, a network that this server does not have; send the finished map with the preprocessor none"


@dataclass(frozen=True, kw_only=True)
class Control(ActsInSteps):
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
    weight: Weight = 1.0
    start: Start = 0.0
    end: End = 1.0
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

    mode: Annotated[
        str,
        Param(
            label="Mode",
            description="Which decides where the prompt and the map disagree: both; the prompt, so that deeper layers "
            "follow the map less; or the map, which then acts beside the prompt alone and not beside the negative one.",
            example="balanced",
            choices=tuple(CONTROL_MODES),
            labels=tuple(CONTROL_MODES.values()),
            per_image=True,
            control="choice",
        ),
    ] = "balanced"

    @property
    def shown(self) -> str | None:
        """What the map shows; None where that is not said."""
        return self.kind or PREPROCESSORS[self.preprocessor].kind

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
            "Control Mode": CONTROL_MODES[self.mode],
        }
        return ", ".join(f"{key}: {value}" for key, value in pairs.items())
