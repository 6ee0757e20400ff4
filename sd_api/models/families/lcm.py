"""Latent consistency models (arXiv:2310.04378): Stable Diffusion 1 distilled to few steps."""

import math
from dataclasses import replace
from typing import Any

import diffusers
import torch

from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Redrawing
from sd_api.models.components import Parts
from sd_api.models.families.sd import StableDiffusion
from sd_api.models.schedulers import Noise


class LatentConsistency(StableDiffusion):
    """See Family; its steps are chosen from those of the schedule that it was distilled from."""

    name = "Latent consistency"
    pipelines = frozenset(f"LatentConsistencyModel{kind}Pipeline" for kind in ("", "Img2Img"))
    schedulers = ()
    noise: Noise = "consistency"

    def loading_class(self, class_name: str) -> Any:
        """See Family."""
        return getattr(diffusers, class_name) if class_name in self.pipelines else None

    def abilities(self, parts: Parts) -> ModelAbilities:
        """See Family."""
        return replace(super().abilities(parts), guidance="distilled", defaults={"steps": 4, "guidance": 8.5})

    def steps_there(self, scheduler: Any, operation: Operation) -> int:
        """See LatentFamily: a part of the schedule has fewer."""
        return _chosen(scheduler, operation)[0]

    def timesteps(self, parts: Parts, operation: Operation, scheduler: Any, size: tuple[int, int]) -> torch.Tensor:
        """See LatentFamily."""
        steps, strength = _chosen(scheduler, operation)
        scheduler.set_timesteps(steps, device=parts.device, strength=strength)
        timesteps: torch.Tensor = scheduler.timesteps
        return timesteps


def _chosen(scheduler: Any, operation: Operation) -> tuple[int, float]:
    """The steps that are made, and the share of the schedule from which they are chosen: that of one at least."""
    there: int = scheduler.config.original_inference_steps
    if not isinstance(operation, Redrawing):
        return min(operation.steps, there), 1.0
    share = max(1, int(there * operation.strength))
    strength = operation.strength if int(there * operation.strength) else math.nextafter(1 / there, 1)
    return min(operation.steps, share), strength
