"""FLUX.2 klein with kept keys and values: made to look at its images once, and not again in each step."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux2 import Flux2KVCache

from sd_api.errors import GenerationFailed
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN
from sd_api.models.families.flux2_klein import (
    DISTILLED,
    FIRST,
    Flux2Klein,
    places_of,
    places_of_words,
    tokens_of,
)
from sd_api.models.families.transformer_rows import TransformerRow, TransformerStart


@dataclass(frozen=True)
class KeysAndValues:
    """What the attention of each layer needs of some images; they are the same for every prompt and in every step.

    Attributes:
        double, single: Of the layers of each kind: keys and values, (1, tokens, heads, width) each.
    """

    double: Sequence[tuple[torch.Tensor, torch.Tensor]]
    single: Sequence[tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def of(cls, cache: Flux2KVCache) -> "KeysAndValues":
        """Those of the transformer's own cache, in the host's memory.

        They take as much as a part of the model, so they are on the device for as long as a picture needs them.
        """

        def in_host(layers: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
            return [(layer.k_ref.cpu(), layer.v_ref.cpu()) for layer in layers]

        return cls(in_host(cache.double_block_caches), in_host(cache.single_block_caches))

    def on(self, device: torch.device) -> Flux2KVCache:
        """A cache that the transformer takes."""
        cache = Flux2KVCache(len(self.double), len(self.single))
        layers = (*cache.double_block_caches, *cache.single_block_caches)
        for layer, (keys, values) in zip(layers, (*self.double, *self.single), strict=True):
            layer.store(keys.to(device), values.to(device))
        cache.num_ref_tokens = self.double[0][0].shape[1]
        return cache

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All of them."""
        return [tensor for pair in (*self.double, *self.single) for tensor in pair]

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return sum(tensor.nbytes for tensor in self.tensors)


class Flux2KleinKV(Flux2Klein):
    """See Family.

    Images see neither the words nor the picture, so their keys and values are computed by themselves and cached by
    their content: the next edit of a document with the same references begins with them.
    """

    name = "FLUX.2 klein with kept references"
    pipelines = dict.fromkeys(("Flux2KleinKVPipeline",), replace(DISTILLED, modes=("txt2img", "edit")))
    sees = replace(Flux2Klein.sees, kept=True)
    # Keys and values of several rows would be copied together in each step.
    max_rows = 1
    # What is kept of images would be another for each of them.
    takes_loras = False

    def own(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily; ``memory`` has them."""
        return ()

    def references(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily; ``memory`` has them."""
        return ()

    def memory(self, start: TransformerStart) -> Flux2KVCache | None:
        """See TransformerFamily."""
        images = [*super().own(start), *super().references(start)]
        if not images:
            return None
        content = hashlib.sha256(b"".join(image.float().cpu().numpy().tobytes() for image in images)).digest()
        key = content, tuple(image.shape for image in images)
        found = start.parts.cached("keys and values", key, lambda: _keys_and_values(start.parts, images))
        return found.on(start.parts.device)

    def inputs(self, rows: Sequence[TransformerRow]) -> dict[str, Any]:
        """See Flux2Klein."""
        (row,) = rows
        return {} if row.memory is None else {"kv_cache": row.memory, "kv_cache_mode": "cached"}


def _keys_and_values(parts: Parts, images: Sequence[torch.Tensor]) -> KeysAndValues:
    """Run the transformer on images alone, beside one token of a picture and one word, which they do not see."""
    parts.place([parts.denoiser])
    config, dtype = parts.denoiser.config, parts.denoiser.dtype
    tokens = torch.cat([tokens_of(image) for image in images], 1).to(dtype)
    places = [places_of(image, (number + 1) * FIRST) for number, image in enumerate(images)]
    _, cache = parts.denoiser(
        hidden_states=torch.cat([tokens, tokens.new_zeros(1, 1, tokens.shape[2])], 1),
        timestep=tokens.new_zeros(1),
        guidance=None,
        encoder_hidden_states=tokens.new_zeros(1, 1, config.joint_attention_dim),
        txt_ids=places_of_words(1).to(parts.device)[None],
        img_ids=torch.cat([*places, torch.zeros_like(places[0][:1])]).to(parts.device)[None],
        return_dict=False,
        kv_cache_mode="extract",
        num_ref_tokens=tokens.shape[1],
    )
    found = KeysAndValues.of(cache)
    # What is cached would break every later picture with these images as well.
    if not all(tensor.isfinite().all() for tensor in found.tensors):
        raise GenerationFailed(BROKEN)
    return found
