"""How references act in the steps of a UNet, by IP-Adapters; the arithmetic is that of diffusers' pipelines."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sd_api.models.components import Parts
from sd_api.models.families.unet_guidance import negatives
from sd_api.models.families.unet_rows import UNetRow

Words = torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]
"""The embeddings of words; with references the tokens of their images beside them, (n, images, tokens, width) each."""


def adapted(parts: Parts, row: UNetRow) -> Any:
    """What runs in place of the UNet, on the device, with the LoRAs and the adapters that act in a row's next step."""
    loras = row.moment.loras
    return parts.ip_adapters.applied(
        lambda beside: parts.loras.applied(parts.denoiser, loras, beside), row.conditioning.references, loras
    )


def with_references(words: torch.Tensor, rows: Sequence[UNetRow]) -> Words:
    """What a UNet attends to.

    Args:
        words: (n, tokens, width): those of every variant of every row.
        rows: With the same references but for their images.
    """
    count = len(rows[0].conditioning.references)
    if not count:
        return words
    seen = [list(_seen(row)) for row in rows]
    return words, [torch.cat([variant[number] for row in seen for variant in row]) for number in range(count)]


def _seen(row: UNetRow) -> Iterator[list[torch.Tensor]]:
    """The tokens of each reference, for each variant of a row."""
    tokens = [reference.at(row.step, row.steps) for reference in row.conditioning.references]
    for negative in negatives(row):
        yield [each.unseen if negative and each.unseen is not None else each.seen for each in tokens]
