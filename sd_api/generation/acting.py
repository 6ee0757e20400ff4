"""How much, and in which steps, an image acts that stands beside the prompt."""

from typing import Annotated

from sd_api.generation.fields import Param

# Programs offer at most twice the strength that such a model was trained with.
_MAX_WEIGHT = 2.0

Weight = Annotated[
    float,
    Param(
        label="Weight",
        description="The factor of what it adds to the model's layers.",
        example=0.6,
        low=0,
        high=_MAX_WEIGHT,
        per_image=True,
        control="slider",
        step=0.05,
    ),
]
Start = Annotated[
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
]
End = Annotated[
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
]


class ActsInSteps:
    """What acts from one share of the steps to another, 0 to 1; an entry's class declares both.

    Attributes:
        start: The share after which it begins.
        end: The share after which it acts no more.
    """

    start: float
    end: float

    @property
    def problem(self) -> str | None:
        """What is wrong with it, as the end of a sentence that begins with ``start``."""
        return None if self.start <= self.end else f"is {self.start:g}; it must be at most end, which is {self.end:g}"

    @property
    def changes(self) -> bool:
        """Whether it does not act in all steps."""
        return (self.start, self.end) != (0.0, 1.0)

    def acts(self, step: int, steps: int) -> bool:
        """Whether it acts in a step, as diffusers' pipelines decide it.

        Args:
            step: Counted from 0.
            steps: All that are made.
        """
        return step / steps >= self.start and (step + 1) / steps <= self.end
