"""PixArt-Sigma (arXiv:2403.04692): a transformer that predicts noise."""

from collections.abc import Sequence

import torch

from sd_api.generation.operation import Operation
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.models.components import Parts
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import TransformerRow, Words

_PUBLISHED = Published(steps=20, guidance=4.5)


class PixArtSigma(TransformerFamily):
    """See Family."""

    name = "PixArt-Sigma"
    pipelines = dict.fromkeys(("PixArtSigmaPipeline",), _PUBLISHED)
    schedulers = tuple(SCHEDULERS)
    longest = 300
    one_forward = True

    def native_size(self, parts: Parts) -> int:
        """See TransformerFamily."""
        return int(parts.denoiser.config.sample_size) * self.cell(parts)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, mask, _, _ = parts.pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device=parts.device)
        return {"words": words, "mask": mask}

    def forward(
        self,
        parts: Parts,
        rows: Sequence[TransformerRow],
        samples: torch.Tensor,
        timesteps: torch.Tensor,
        words: Words,
    ) -> torch.Tensor:
        """See TransformerFamily."""
        output: torch.Tensor = parts.denoiser(
            samples,
            encoder_hidden_states=words["words"],
            encoder_attention_mask=words["mask"],
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        # Some predict a variance as well, which no scheduler uses.
        return output[:, : samples.shape[1]]
