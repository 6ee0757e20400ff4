"""What acts of references by IP-Adapters, as the rows have it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sd_api.generation.acting import ActsInSteps
from sd_api.models.folders import FoundFile


@dataclass(frozen=True)
class Tokens:
    """What an adapter makes of images.

    Attributes:
        seen: (1, images, tokens, width).
        unseen: The same of no image, for the negative prompt; of one at least. None where there is no guidance.
    """

    seen: torch.Tensor
    unseen: torch.Tensor | None

    def of(self, *, negative: bool) -> torch.Tensor:
        """What a prompt is read with, or the negative one."""
        return self.unseen if negative and self.unseen is not None else self.seen

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return self.seen.nbytes + (0 if self.unseen is None else self.unseen.nbytes)


@dataclass(frozen=True)
class ActiveReference(ActsInSteps):
    """Images that act for a row by one adapter.

    Attributes:
        file: The adapter.
        weight: The factor of what its attention adds.
        start, end: The shares of the steps between which it acts.
        tokens: What it makes of the images.
    """

    file: FoundFile
    weight: float
    start: float
    end: float
    tokens: Tokens

    @property
    def key(self) -> tuple[FoundFile, float, torch.Size]:
        """What is the same of rows that share a forward."""
        return self.file, self.weight, self.tokens.seen.shape


def acting_references(references: Sequence[ActiveReference], step: int, steps: int) -> tuple[ActiveReference, ...]:
    """Those that act in a step, counted from 0."""
    return tuple(each for each in references if each.acts(step, steps))


def tokens_of(rows: Sequence[Sequence[ActiveReference]], negatives: Sequence[Sequence[bool]]) -> list[torch.Tensor]:
    """What goes through a denoiser for each of the references that act: (n, images, tokens, width).

    Args:
        rows: The references of each row of a forward, with the same keys.
        negatives: For each row, whether each of its passes has the negative prompt.
    """
    passes = [(references, negative) for references, own in zip(rows, negatives, strict=True) for negative in own]
    return [
        torch.cat([references[number].tokens.of(negative=negative) for references, negative in passes])
        for number in range(len(rows[0]))
    ]
