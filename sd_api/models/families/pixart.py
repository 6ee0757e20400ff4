"""PixArt-Sigma (arXiv:2403.04692): a transformer that predicts noise."""

import torch

from sd_api.generation.operation import Operation
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.models.components import Parts
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import Call, Words
from sd_api.models.schedulers import Noise

_PUBLISHED = Published(steps=20, guidance=4.5)


class PixArtSigma(TransformerFamily):
    """See Family."""

    name = "PixArt-Sigma"
    pipelines = dict.fromkeys(("PixArtSigmaPipeline",), _PUBLISHED)
    schedulers = tuple(SCHEDULERS)
    noise: Noise = "diffusion"
    longest = 300
    one_forward = True

    def native_size(self, parts: Parts) -> int:
        """See TransformerFamily."""
        return int(parts.denoiser.config.sample_size) * self.cell(parts)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, mask, _, _ = parts.pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device=parts.device)
        return {"words": words, "mask": mask}

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """See TransformerFamily."""
        output: torch.Tensor = call.network(
            call.samples,
            encoder_hidden_states=call.words["words"],
            encoder_attention_mask=call.words["mask"],
            timestep=call.timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        # Some predict a variance as well, which no scheduler uses.
        return output[:, : call.samples.shape[1]]
