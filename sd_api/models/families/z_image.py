"""Z-Image and Z-Image-Turbo (arXiv:2511.22699)."""

from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.attention import Asked
from sd_api.models.components import Parts
from sd_api.models.families.flow import linear_shift
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import Call, Words

_PUBLISHED = Published(steps=50, guidance=5.0)
_TURBO = Published(steps=9, guidance=0.0)


class ZImage(TransformerFamily):
    """See Family."""

    name = "Z-Image"
    attention: Asked = "masked"
    pipelines = dict.fromkeys((f"ZImage{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    chats = True
    schedulers = ("euler",)
    from_zero = True
    one_forward = True
    in_fp32 = True

    def published(self, parts: Parts) -> Published:
        """See TransformerFamily; the two differ in nothing but their weights and the name of their repository."""
        return _TURBO if "turbo" in str(parts.pipeline.config.get("_name_or_path")).lower() else _PUBLISHED

    def largest_side(self, parts: Parts) -> int:
        """See LatentFamily: the model knows so many rows and columns of tokens, and no more."""
        return int(min(parts.denoiser.config.axes_lens[1:])) * self.multiple(parts)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily: (tokens, width), as many as the prompt has."""
        words, _ = parts.pipeline.encode_prompt(prompt, device=parts.device, do_classifier_free_guidance=False)
        return {"words": words}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return torch.linspace(1.0, 1 / steps, steps).tolist()

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        return linear_shift(parts.pipeline.scheduler.config, tokens)

    def advance(self, row: Any, prediction: torch.Tensor) -> None:
        """See Family."""
        super().advance(row, prediction)
        if row.kept is not None:
            # As diffusers' blending leaves them: the autoencoder's last bit depends on the order in memory.
            row.latents = row.latents.to(memory_format=torch.channels_last)

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """See TransformerFamily; its time runs the other way, and so does its flow."""
        frames = call.samples.to(parts.denoiser.dtype)[:, :, None]
        output = call.network(
            list(frames.unbind()), (1000 - call.timesteps) / 1000, call.words["words"], return_dict=False
        )[0]
        return -torch.stack([each.float() for each in output])[:, :, 0]
