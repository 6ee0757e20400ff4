"""Sana-Sprint (arXiv:2503.09641): Sana distilled to few steps, along an arc between noise and the original."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.components import Parts
from sd_api.models.families.sana import Sana
from sd_api.models.families.transformer import Published
from sd_api.models.families.transformer_rows import Call
from sd_api.models.schedulers import Noise

_PUBLISHED = Published(steps=2, guidance=4.5)

# The angles of the first step, and of the second where there are two, as its authors chose them.
_FIRST, _SECOND = 1.57080, 1.3


class SanaSprint(Sana):
    """See Family."""

    name = "Sana-Sprint"
    pipelines = dict.fromkeys(("SanaSprintPipeline", "SanaSprintImg2ImgPipeline"), _PUBLISHED)
    guidance = "distilled"
    capabilities = ()
    schedulers = ()
    noise: Noise = "trigonometric"
    alone = MappingProxyType({})

    def scale(self, parts: Parts) -> float:
        """See LatentFamily: the deviation of the originals."""
        return float(parts.pipeline.scheduler.config.sigma_data)

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """See TransformerFamily: guidance is an input."""
        return False

    def schedule(self, parts: Parts, scheduler: Any, steps: int, tokens: int) -> torch.Tensor:
        """See TransformerFamily; the last angle is that of the original."""
        second = _SECOND if steps == 2 else None
        scheduler.set_timesteps(steps, device=parts.device, max_timesteps=_FIRST, intermediate_timesteps=second)
        timesteps: torch.Tensor = scheduler.timesteps[:-1]
        return timesteps

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily; the transformer predicts a flow, whose time is another measure of the angle."""
        dtype, scale = parts.denoiser.dtype, self.scale(parts)
        times = torch.sin(call.timesteps) / (torch.cos(call.timesteps) + torch.sin(call.timesteps))
        time = times.view(-1, 1, 1, 1)
        norm = torch.sqrt(time**2 + (1 - time) ** 2)
        seen = call.samples / scale * norm
        guidance = torch.tensor([row.guidance for row in call.rows], device=parts.device).to(call.words["words"].dtype)
        flow = call.network(
            seen.to(dtype),
            encoder_hidden_states=call.words["words"].to(dtype),
            encoder_attention_mask=call.words["mask"],
            guidance=guidance * parts.denoiser.config.guidance_embeds_scale,
            timestep=times,
            return_dict=False,
        )[0]
        turned: torch.Tensor = ((1 - 2 * time) * seen + (1 - 2 * time + 2 * time**2) * flow) / norm
        return turned.float() * scale
