"""The UNet's optimizer: Muon for its weights, AdamW for all else."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class MuonWithAdamW:
    """Muon takes matrices only, so each convolution's kernel is shown to it as one, over the same memory.

    Args:
        matrices: weights of two or four dimensions; those of four in the memory format channels_last.
        others: all other parameters.
        lr: the learning rate of both; Muon's updates are scaled to the size of AdamW's (arXiv 2502.16982).
    """

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float) -> None:
        self._weights = list(matrices)
        self._views = [nn.Parameter(_as_matrix(weight.detach())) for weight in self._weights]
        for weight, view in zip(self._weights, self._views, strict=True):
            assert weight.data_ptr() == view.data_ptr()
        self._muon = torch.optim.Muon(
            self._views, lr=lr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def step(self, lr: float) -> None:
        """Move the parameters against their gradients, and forget those."""
        for optimizer in (self._muon, self._adamw):
            for group in optimizer.param_groups:
                group["lr"] = lr
        for weight, view in zip(self._weights, self._views, strict=True):
            view.grad = None if weight.grad is None else _as_matrix(weight.grad)
            weight.grad = None
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()
        self._adamw.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept to go on."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def _as_matrix(weight: torch.Tensor) -> torch.Tensor:
    """(outputs, everything else); of a convolution in the order in which channels_last lies in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight
