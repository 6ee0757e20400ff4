"""The sizes of published models are those of the classes that run them."""

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
import transformers

from sd_api.models.published import PUBLISHED


def clip(**config: Any) -> Any:
    return transformers.CLIPTextConfig(vocab_size=49408, **config)


def qwen3(**config: Any) -> Any:
    return transformers.Qwen3Config(
        vocab_size=151936, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128, **config
    )


MADE: dict[tuple[str, str], Callable[[], Any]] = {
    ("Stable Diffusion 1.5", "text_encoder"): lambda: transformers.CLIPTextModel(
        clip(hidden_size=768, intermediate_size=3072)
    ),
    ("Stable Diffusion XL", "text_encoder_2"): lambda: transformers.CLIPTextModelWithProjection(
        clip(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280
        )
    ),
    ("Stable Diffusion 1.5", "unet"): lambda: diffusers.UNet2DConditionModel(cross_attention_dim=768),
    ("Stable Diffusion 3.5 medium", "transformer"): lambda: diffusers.SD3Transformer2DModel(
        sample_size=128,
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    ),
    ("Chroma", "text_encoder"): lambda: transformers.T5EncoderModel(
        transformers.T5Config(
            d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
        )
    ),
    ("PixArt-Σ", "transformer"): lambda: diffusers.PixArtTransformer2DModel(
        sample_size=128, out_channels=8, caption_channels=4096
    ),
    ("Sana 1.6B", "transformer"): diffusers.SanaTransformer2DModel,
    ("Lumina 2", "transformer"): lambda: diffusers.Lumina2Transformer2DModel(cap_feat_dim=2304),
    ("FLUX.1 schnell", "transformer"): diffusers.FluxTransformer2DModel,
    ("Chroma", "transformer"): diffusers.ChromaTransformer2DModel,
    ("FLUX.2 klein 4B", "text_encoder"): lambda: transformers.Qwen3Model(
        qwen3(hidden_size=2560, intermediate_size=9728)
    ),
    ("FLUX.2 klein 9B", "transformer"): lambda: diffusers.Flux2Transformer2DModel(
        num_layers=8,
        num_single_layers=24,
        num_attention_heads=32,
        joint_attention_dim=12288,
        guidance_embeds=False,
    ),
    ("Z-Image-Turbo", "transformer"): diffusers.ZImageTransformer2DModel,
    ("Qwen-Image", "transformer"): diffusers.QwenImageTransformer2DModel,
    ("Qwen-Image", "vae"): diffusers.AutoencoderKLQwenImage,
    ("Krea 2", "transformer"): diffusers.Krea2Transformer2DModel,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("model", "name"), MADE, ids=lambda text: text)
def test_the_weights_are_as_many(model: str, name: str) -> None:
    with torch.device("meta"):
        module = MADE[model, name]()
    tensors = module.state_dict(keep_vars=True).values()
    own = {id(tensor): tensor.numel() for tensor in tensors}
    said = next(part for part in PUBLISHED[model].components if part.name == name)
    assert said.elements == pytest.approx(sum(own.values()), rel=1e-3)
    assert said.largest == pytest.approx(max(own.values()), rel=1e-3)
