"""What a ControlNet (arXiv:2302.05543) or a T2I adapter (arXiv:2302.08453) is to follow, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from sd_api.generation.fields import fields_of, out_of_range
from sd_api.generation.images import ImageRef
from sd_api.imaging.controls import KINDS, PREPROCESSORS, WITH_WEIGHTS

Resize = Literal["stretch", "crop", "fill"]

# Each one costs about half as much as the model itself.
MAX_CONTROLS = 4

# Programs offer twice the strength that a ControlNet was trained with at most.
MAX_CONTROL_WEIGHT = 2.0

# As other programs write them into their pictures.
_RESIZE_MODES = {"stretch": "Just Resize", "crop": "Crop and Resize", "fill": "Resize and Fill"}


@dataclass(frozen=True, kw_only=True)
class Control:
    """One map that acts on a picture.

    Attributes:
        model: The name of the ControlNet or T2I adapter.
        image: What is followed; None is the image of the operation itself.
        preprocessor: What is made of the image first, see ``PREPROCESSORS``.
        weight: The factor of what it adds, 0 to ``MAX_CONTROL_WEIGHT``.
        start: The share of the steps after which it begins to act, 0 to 1.
        end: The share of the steps after which it has ended, above ``start``.
        resize: How an image of another shape is brought to the size of the picture: stretched, its middle cut out, or
            its edge repeated around it.
        kind: What the map shows, for models that were trained with several, see ``KINDS``; None follows from the
            preprocessor.
    """

    model: str
    image: ImageRef | None = None
    preprocessor: str = "none"
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    resize: Resize = "stretch"
    kind: str | None = None

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

    def problem(self) -> str | None:
        """Say what is wrong with it, as the end of a sentence."""
        if self.preprocessor in WITH_WEIGHTS:
            return (
                f"the preprocessor {self.preprocessor}, which is a network that this server does not have; send the "
                'finished map with the preprocessor "none"'
            )
        if self.preprocessor not in PREPROCESSORS:
            return f"the preprocessor {self.preprocessor[:40]!r}; valid are {', '.join(PREPROCESSORS)}"
        if self.resize not in get_args(Resize):
            return f"the resize {self.resize[:40]!r}; valid are {', '.join(get_args(Resize))}"
        if self.kind is not None and self.kind not in KINDS:
            return f"the kind {self.kind[:40]!r}; valid are {', '.join(KINDS)}"
        for name, value, high in (
            ("weight", self.weight, MAX_CONTROL_WEIGHT),
            ("start", self.start, 1),
            ("end", self.end, 1),
        ):
            if problem := out_of_range(value, 0, high):
                return f"a {name} that {problem}"
        if self.start >= self.end:
            return f"a start of {self.start:g}, which must be below its end of {self.end:g}"
        return None

    def plain(self) -> dict[str, Any]:
        """Everything but the image, for the wire."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "image"}

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


def controls_problem(controls: Sequence[Control], _limits: object) -> str | None:
    """Say what is wrong with the controls of a request, see ``Param.check``."""
    if len(controls) > MAX_CONTROLS:
        return f"has {len(controls)} entries; at most {MAX_CONTROLS} are allowed"
    for number, control in enumerate(controls, start=1):
        if problem := control.problem():
            return f"has in entry {number} {problem}"
    return None


def images_of(operation: object) -> dict[str, ImageRef]:
    """Every image of an operation: those of its fields by their names, those of its controls by their numbers."""
    values = {field.name: getattr(operation, field.name) for field in fields_of(type(operation))}
    images = {name: value for name, value in values.items() if isinstance(value, ImageRef)}
    for number, control in enumerate(values.get("controls", ())):
        if control.image is not None:
            images[control_key(number)] = control.image
    return images


def control_key(number: int) -> str:
    """The key of a control's image on the wire."""
    return f"controls.{number}"


def with_images(plain: Sequence[dict[str, Any]], images: dict[str, ImageRef]) -> tuple[Control, ...]:
    """The controls of what ``Control.plain`` wrote, with their images by ``control_key``."""
    made = (Control(**each) for each in plain)
    return tuple(replace(control, image=images.get(control_key(number))) for number, control in enumerate(made))
