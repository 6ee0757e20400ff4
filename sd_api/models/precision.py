"""In which precision a model is loaded."""

from dataclasses import dataclass

import torch

from sd_api.models.device import HALF_PRECISIONS


@dataclass(frozen=True)
class Precision:
    """How the weights of a model are kept.

    Attributes:
        dtype: Of the weights and of the arithmetic.
        only_checked: Whether the model is built to see whether it can be, and never run: then its weights are not read.
    """

    dtype: torch.dtype
    only_checked: bool = False

    @property
    def half(self) -> bool:
        """Whether the publisher's weights in half precision suffice."""
        return self.dtype in HALF_PRECISIONS
