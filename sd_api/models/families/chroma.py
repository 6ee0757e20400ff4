"""Chroma: FLUX.1 schnell made smaller, with guidance by a negative prompt again."""

from collections.abc import Sequence
from typing import Any

import torch

from sd_api.generation.abilities import Guidance
from sd_api.generation.operation import Operation
from sd_api.models.attention import Asked
from sd_api.models.components import Parts
from sd_api.models.families.flux import Flux
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import TransformerRow, Words

_PUBLISHED = Published(steps=35, guidance=5.0)


class Chroma(Flux):
    """See Family."""

    name = "Chroma"
    pipelines = dict.fromkeys((f"Chroma{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    guidance = "classifier-free"
    capabilities = ("negative_prompt",)
    tokenizer = "tokenizer"

    def published(self, parts: Parts) -> Published:
        """See TransformerFamily."""
        return TransformerFamily.published(self, parts)

    def meaning(self, parts: Parts) -> Guidance:
        """See TransformerFamily."""
        return self.guidance

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """See TransformerFamily."""
        return operation.guidance > 1

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, _, mask, *_ = parts.pipeline.encode_prompt(
            prompt, device=parts.device, do_classifier_free_guidance=False
        )
        return {"words": words, "mask": mask}

    def inputs(self, parts: Parts, rows: Sequence[TransformerRow], words: Words, length: int) -> dict[str, Any]:
        """See Flux: which tokens are there."""
        picture = words["mask"].new_ones(len(rows), length, dtype=torch.bool)
        return {"attention_mask": torch.cat([words["mask"], picture], 1)}

    attention: Asked = "masked"
