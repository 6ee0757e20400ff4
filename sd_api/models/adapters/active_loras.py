"""What a request asks for as LoRAs, and what of it acts in a step; knows no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from sd_api.models.folders import FoundFile
from sd_api.prompting.prompt import Lora


@dataclass(frozen=True)
class ActiveLora:
    """A LoRA that acts for a row.

    Attributes:
        file: The LoRA.
        weight: The factor of its layers in the denoiser.
        text_weight: The factor of its layers in the text encoders.
    """

    file: FoundFile
    weight: float
    text_weight: float


@dataclass(frozen=True)
class FoundLora:
    """A LoRA that a request asks for, with its file."""

    file: FoundFile
    lora: Lora


def acting(found: Sequence[FoundLora], step: int, steps: int) -> tuple[ActiveLora, ...]:
    """What acts in a step, counted from 0; one that is named twice acts with the sum of its weights."""
    active: dict[FoundFile, ActiveLora] = {}
    for each in found:
        if each.lora.acts(step, steps):
            before = active.get(each.file, ActiveLora(each.file, 0.0, 0.0))
            weights = before.weight + each.lora.weight, before.text_weight + each.lora.text_weight
            active[each.file] = ActiveLora(each.file, *weights)
    return tuple(active.values())
