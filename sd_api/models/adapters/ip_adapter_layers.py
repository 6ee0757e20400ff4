"""The layers of an IP-Adapter, which diffusers makes of its file for the denoiser that they are to act in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from PIL import Image

from sd_api.models.adapters.active_references import Tokens
from sd_api.models.adapters.image_encoders import ImageEncoder
from sd_api.models.adapters.ip_adapter_files import ATTENTION, FLUX, IMAGE, SD3, AdapterHeader, TransformerName
from sd_api.models.component import Component

TRANSFORMERS: Mapping[TransformerName, type] = {FLUX: FluxTransformer2DModel, SD3: SD3Transformer2DModel}
"""What the adapters for transformers act in."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A loaded adapter.

    Attributes:
        header: What it is.
        names: Of the processors in the denoiser that attend to images.
        acting: These processors in their order, and behind them for Stable Diffusion 3 what makes tokens of what the
            encoder sees, which depends on the step.
        seeing: For others, what makes these tokens; None for Stable Diffusion 3.
        encoder: The folder or the file of its image encoder.
    """

    header: AdapterHeader
    names: tuple[str, ...]
    acting: Component
    seeing: Component | None
    encoder: Path

    @property
    def parts(self) -> tuple[Component, ...]:
        """All of it, as what is placed."""
        return (self.acting,) if self.seeing is None else (self.acting, self.seeing)

    def tokens(self, encoder: ImageEncoder, images: list[Image.Image], *, guided: bool) -> Tokens:
        """What it makes of images, as diffusers' pipelines do; it is on the device with the encoder.

        Args:
            encoder: Its image encoder.
            images: Mode RGB.
            guided: Whether there is classifier-free guidance.
        """
        header, dtype = self.header, self.acting.dtype
        seen, unseen = (each.to(dtype) for each in encoder.see(images, whole=header.whole, nothing=header.nothing))
        if self.seeing is None:
            # As a row of images: each one's states are tokens by themselves.
            return Tokens(seen[None], unseen[None] if guided else None)
        if header.transformer is not None:
            return Tokens(self.seeing(seen)[None], self.seeing(unseen)[None] if guided else None)
        # Together: the place in a batch decides the last bit.
        several = torch.stack([unseen, seen] if guided else [seen])
        tokens = self.seeing(several.flatten(0, 1))
        *negative, positive = tokens.reshape(len(several), 1, len(images), *tokens.shape[1:])
        return Tokens(positive, negative[0] if negative else None)


def transformer_name(denoiser: Component) -> TransformerName | None:
    """Which of ``TRANSFORMERS`` a denoiser is; None for a UNet."""
    return next((name for name, found in TRANSFORMERS.items() if isinstance(denoiser.module, found)), None)


def width_of(denoiser: Component) -> int:
    """What the width of an adapter's header has to be, so that it fits."""
    config = denoiser.config
    if transformer_name(denoiser) == SD3:
        return int(config.attention_head_dim * config.num_attention_heads)
    return int(config.joint_attention_dim if transformer_name(denoiser) == FLUX else config.cross_attention_dim)


def make_adapter(
    name: str, header: AdapterHeader, tensors: Mapping[str, torch.Tensor], denoiser: Component, encoder: Path
) -> Adapter:
    """Make the layers, on the host; the denoiser is not changed.

    Args:
        name: Of the adapter.
        header: What it is.
        tensors: Its weights by the names that all but XLabs give them.
        denoiser: What it is to act in.
        encoder: The folder or the file of its image encoder.

    Raises:
        ValueError: It lacks weights; diffusers raises other errors about those that do not fit.
    """
    image, attention = (
        {
            each.removeprefix(prefix): tensor.to(denoiser.dtype, copy=True)
            for each, tensor in tensors.items()
            if each.startswith(prefix)
        }
        for prefix in (IMAGE, ATTENTION)
    )
    module: Any = denoiser.module
    of_sd3 = header.transformer == SD3
    # diffusers' own conversion of the file.
    processors = module._convert_ip_adapter_attn_to_diffusers(
        attention if of_sd3 else [{"image_proj": image, "ip_adapter": attention}]
    )
    projection = module._convert_ip_adapter_image_proj_to_diffusers(image).eval()
    own = {each: processor for each, processor in processors.items() if hasattr(processor, "to_k_ip")}
    layers = torch.nn.ModuleList([*own.values(), *([projection] if of_sd3 else [])])
    if any(weight.is_meta for network in (layers, projection) for weight in network.parameters()):
        raise ValueError("it lacks weights")
    acting = Component(f"IP-Adapter {name}", layers.to("cpu"))
    seeing = None if of_sd3 else Component(f"images of IP-Adapter {name}", projection.to("cpu"))
    for part in (acting, seeing):
        if part is not None:
            # What it computes is small beside what the model does.
            part.working = 0
    return Adapter(header, tuple(own), acting, seeing, encoder)
