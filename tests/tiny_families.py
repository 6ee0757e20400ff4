"""A tiny random model of each family, in memory: the published classes made small."""

from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from tiny_model import TEXT_WIDTH, VAE_GAINS, make_scheduler, make_unet, make_vae, seed_weights
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from sd_api.models.components import Parts
from tools.builtin_model.text import bytewise_tokenizer, text_config

# Milder than the gains of the tiny model, which amplify rounding: a forward of several rows rounds otherwise than one.
UNET_GAINS = {"attn2.to_q": 4.0, "attn2.to_out": 2.0}


@cache
def tokenizer() -> Any:
    return bytewise_tokenizer()


def filled(module: torch.nn.Module, gains: dict[str, float] | None = None) -> Any:
    return seed_weights(module, gains or {}).eval()


def remade(module: Any, **changes: Any) -> Any:
    """A module of the same class with another configuration."""
    config = {name: value for name, value in module.config.items() if not name.startswith("_")}
    return type(module)(**config | changes)


def small_vae(**changes: Any) -> AutoencoderKL:
    vae: AutoencoderKL = filled(remade(make_vae(), **changes), VAE_GAINS)
    return vae


def sd(channels: int = 4, **scheduler: Any) -> Any:
    """Stable Diffusion 1: for text with 4 channels, for inpainting with 9, instruct-pix2pix with 8."""
    pipeline_class = StableDiffusionInstructPix2PixPipeline if channels == 8 else StableDiffusionPipeline
    made = make_scheduler()
    return pipeline_class(
        vae=small_vae(),
        text_encoder=filled(CLIPTextModel(text_config(tokenizer(), TEXT_WIDTH))),
        tokenizer=tokenizer(),
        unet=filled(remade(make_unet(), in_channels=channels), UNET_GAINS),
        scheduler=type(made).from_config(made.config, **scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(channels: int = 4, **scheduler: Any) -> Any:
    """Stable Diffusion XL: its two text encoders, its sizes as conditioning, its autoencoder that wants fp32."""
    config = text_config(tokenizer(), TEXT_WIDTH)
    second = text_config(tokenizer(), TEXT_WIDTH)
    second.projection_dim = TEXT_WIDTH
    ids = 8
    unet = remade(
        make_unet(),
        in_channels=channels,
        cross_attention_dim=2 * TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=ids,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * ids,
    )
    return StableDiffusionXLPipeline(
        vae=small_vae(force_upcast=True, scaling_factor=0.13025),
        text_encoder=filled(CLIPTextModel(config)),
        text_encoder_2=filled(CLIPTextModelWithProjection(second)),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=filled(unet, UNET_GAINS),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **scheduler
        ),
    )


def parts_of(pipeline: Any) -> Parts:
    pipeline.set_progress_bar_config(disable=True)
    return Parts(pipeline, torch.device("cpu"), lambda components: None)
