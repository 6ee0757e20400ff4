"""What acts of references by IP-Adapters, as the rows have it."""

from dataclasses import dataclass

import torch

from sd_api.generation.acting import ActsInSteps
from sd_api.models.folders import FoundFile


@dataclass(frozen=True)
class Tokens:
    """What an adapter makes of images.

    Attributes:
        seen: (1, images, tokens, width).
        unseen: The same of no image, for the negative prompt; None where there is no guidance.
    """

    seen: torch.Tensor
    unseen: torch.Tensor | None

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

    def at(self, step: int, steps: int) -> Tokens:
        """What acts in a step, counted from 0; tokens that are 0 add nothing, because no bias is added to them."""
        if self.acts(step, steps):
            return self.tokens
        unseen = self.tokens.unseen
        return Tokens(torch.zeros_like(self.tokens.seen), None if unseen is None else torch.zeros_like(unseen))
