"""Z-Image and Z-Image-Turbo (arXiv:2511.22699)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.attention import Asked
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.flow import linear_shift
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_control import Added, RowControl, maps_of
from sd_api.models.families.transformer_rows import Call, Words
from sd_api.models.families.transformer_words import CONTROLS

_PUBLISHED = Published(steps=50, guidance=5.0)

# What ControlNets take of the transformer.
_SHARED = (
    *("t_scale", "t_embedder", "all_x_embedder", "cap_embedder", "rope_embedder", "noise_refiner", "context_refiner"),
    *("x_pad_token", "cap_pad_token"),
)
_TURBO = Published(steps=9, guidance=0.0)


class ZImage(TransformerFamily):
    """See Family."""

    name = "Z-Image"
    attention: Asked = "masked"
    pipelines = dict.fromkeys((f"ZImage{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    chats = True
    capabilities = ("negative_prompt", CONTROLS)
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

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily; its time runs the other way, and so does its flow."""
        output = call.network(
            _frames(call.samples, parts.denoiser.dtype),
            (1000 - call.timesteps) / 1000,
            call.words["words"],
            controlnet_block_samples={int(layer): samples for layer, (samples,) in added.items()} or None,
            return_dict=False,
        )[0]
        return -torch.stack([each.float() for each in output])[:, :, 0]

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """See TransformerFamily; what is added has the number of its layer as its name."""
        maps = maps_of(column)
        # Later ones take what an inpainting model sees as well; there is none.
        further = maps.new_zeros(len(maps), net.config.control_in_dim - maps.shape[1], *maps.shape[2:])
        with _borrowed(net.module, parts.denoiser.module):
            several = net(
                _frames(call.samples, net.dtype),
                (1000 - call.timesteps) / 1000,
                call.words["words"],
                _frames(torch.cat([maps, further], 1), net.dtype),
                conditioning_scale=scale,
            )
        return {str(layer): [samples] for layer, samples in several.items()}


def _frames(samples: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """(channels, 1, height, width) of each sample."""
    return list(samples.to(dtype)[:, :, None].unbind())


@contextmanager
def _borrowed(net: Any, transformer: Any) -> Iterator[None]:
    """Let a ControlNet run with what it has in common with the transformer, of which it has no copy.

    Only meanwhile: moving it to the host must not move a part of the model.
    """
    own = [name for name in _SHARED if getattr(net, name) is None]
    net.from_transformer(net, transformer)
    try:
        yield
    finally:
        for name in own:
            setattr(net, name, None)
