"""What a family of models must say about its architecture; nothing else knows what its latents look like."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from diffusers import DiffusionPipeline
from PIL import Image

from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operation import Operation
from sd_api.generation.plan import Box
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts

BROKEN = (
    "The model's arithmetic broke down (its latents are not numbers). Try another seed, fewer steps, a lower "
    'guidance_scale or another scheduler; if it happens with every picture, set "dtype": "fp32" in the configuration.'
)

BROKEN_WORDS = (
    "The model's text encoder broke down (what it makes of the prompt are not numbers). Try other words or weights; if "
    'it happens with every prompt, set "dtype": "fp32" in the configuration, or download the model again.'
)


@dataclass(eq=False, kw_only=True)
class Row:
    """One picture on its way through the denoising loop.

    Attributes:
        key: Rows with equal keys share a forward.
        scheduler_name: As a request would spell it, else its class.
        step: The steps that are done.
        steps: All steps; a row whose ``step`` has reached it is done.
        latents: (1, channels, height, width), or None where the family keeps them to itself.
        tiles: Boxes in cells of the latents (left, upper, right, lower) that go through the model one by one, see
            ``Family.view``; empty where the latents go through it at once.
        on_step: Is called within ``predict`` by families whose ``predict`` makes several steps, with the steps done
            and all steps; it raises JobCancelled where the row is not wanted any more.
    """

    key: Hashable
    scheduler_name: str
    step: int = 0
    steps: int = 0
    latents: torch.Tensor | None = None
    tiles: tuple[Box, ...] = ()
    on_step: Callable[[int, int], None] = field(default=lambda _step, _steps: None)

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.steps


class Family(Protocol):
    """One architecture. A family holds no state: everything of a run is in its rows.

    Attributes:
        name: What people call it.
        max_rows: The most rows of one forward.
    """

    name: str
    max_rows: int

    def loading_class(self, class_name: str) -> type[DiffusionPipeline] | None:
        """The class that loads a model of this family; None for models of others.

        Args:
            class_name: The pipeline that ``model_index.json`` names.
        """

    def abilities(self, parts: Parts) -> ModelAbilities:
        """What a model of this family can do."""

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """Sentences about what a model does not do of what an operation asks for."""

    def encode(self, parts: Parts, operation: Operation, look_alive: Callable[[], None] = lambda: None) -> Any:
        """The conditioning of an operation's prompts, cached by content.

        Args:
            parts: The model's components.
            operation: What to do.
            look_alive: Is called before each text, or chunk of one, that is read; what it raises ends the reading.

        Raises:
            OutOfLimits: The model cannot do what a field asks for.
        """

    def start(
        self,
        parts: Parts,
        operation: Operation,
        seeds: PictureSeeds,
        size: tuple[int, int],
        conditioning: Any,
        tiles: Sequence[Box] = (),
    ) -> Row:
        """A row before its first step.

        Args:
            parts: The model's components.
            operation: What to do.
            seeds: Of this picture.
            size: Width and height to work at, a multiple of ``size_multiple``; images are padded to it.
            conditioning: What ``encode`` returned.
            tiles: Boxes in ``size`` that go through the model one by one, for models with the capability ``tiles``.
        """

    def view(self, row: Row, tile: Box) -> Row:
        """What a tile shows of a row, as a row for ``predict``; it shares the row's state."""

    def predict(self, parts: Parts, rows: Sequence[Row]) -> list[Any]:
        """One forward for rows with the same key, guidance included; changes no row."""

    def advance(self, row: Row, prediction: Any) -> None:
        """One step of the row's scheduler, and blending with the latents that a mask keeps."""

    def conclude(self, row: Row, prediction: Any) -> None:
        """End a row in place of its next step: its latents are those that the model expects at the end."""

    def preview(self, parts: Parts, row: Row, prediction: Any) -> Image.Image | None:
        """A small picture of a row, before ``advance``; None where the family has none."""

    def decode(self, parts: Parts, rows: Sequence[Row], warnings: list[str]) -> list[Image.Image]:
        """The pictures of rows that are done.

        Args:
            parts: The model's components.
            rows: Those with the same key.
            warnings: Takes sentences about what was done in a lesser way.

        Raises:
            GenerationFailed: What comes out are not numbers.
            OutOfMemory: Not even one picture fits.
        """
