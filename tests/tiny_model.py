"""A complete Stable Diffusion 1.x model with small seeded random weights, for tests that need no meaning.

Every component is the published models' own class, made small, so that code which runs this one
runs those too: also what the built-in model has not, such as the larger autoencoder's layers.
"""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from math import comb
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from tools.builtin_model.text import bytewise_tokenizer, save_tokenizer, text_config

# Chosen by eye, together, from sheets of pictures. Strong cross attention is what lets a prompt
# decide the picture; the decoder's last layer sets the contrast, short of saturation.
SEED = 11
UNET_GAINS = {"attn2.to_q": 8.0, "attn2.to_out": 6.0, "conv_out": 3.0}
VAE_GAINS = {"decoder.conv_out": 0.5}

TEXT_WIDTH = 64
SAFETY_WIDTH = 32
SAFETY_PIXELS = 32


def make_unet() -> UNet2DConditionModel:
    """A noise predictor for 64 x 64 latents, so that the native size is 512 x 512 pixels."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(32, 32, 64),
        # Attention over all 64 x 64 places would take most of the time on a processor.
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
    )


def make_vae() -> AutoencoderKL:
    """An autoencoder between pixels and four latent channels of an eighth of the size."""
    return AutoencoderKL(
        sample_size=512,
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.18215,
    )


def make_safety_checker(tokenizer: CLIPTokenizer) -> StableDiffusionSafetyChecker:
    """A safety checker whose thresholds stay at 1, which no cosine similarity exceeds: nothing is flagged."""
    vision_config = CLIPVisionConfig(
        image_size=SAFETY_PIXELS,
        patch_size=SAFETY_PIXELS // 4,
        hidden_size=SAFETY_WIDTH,
        intermediate_size=4 * SAFETY_WIDTH,
        projection_dim=SAFETY_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    return StableDiffusionSafetyChecker(
        CLIPConfig(
            vision_config=vision_config, text_config=text_config(tokenizer, SAFETY_WIDTH), projection_dim=SAFETY_WIDTH
        )
    )


def make_feature_extractor() -> CLIPImageProcessorPil:
    """What scales and normalizes a picture for the safety checker."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": SAFETY_PIXELS}, crop_size={"height": SAFETY_PIXELS, "width": SAFETY_PIXELS}
    )


def make_scheduler() -> PNDMScheduler:
    """Stable Diffusion 1.5's scheduler."""
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    # Not for this scheduler, but for those that are made from its configuration.
    scheduler.register_to_config(clip_sample=False)
    return scheduler


def smooth_kernel(size: int) -> np.ndarray:
    """Binomial weights of shape (size, size) that add up to 1."""
    row = np.array([comb(size - 1, index) for index in range(size)])
    kernel: np.ndarray = np.outer(row, row) / row.sum() ** 2
    return kernel


@torch.no_grad()
def seed_weights(model: nn.Module, gains: Mapping[str, float] = MappingProxyType({})) -> nn.Module:
    """Give every parameter a value that depends on SEED, its name and its place.

    Convolutions are a random mix of the channels, blurred, because independent random pixels in
    a kernel make noise where these make blobs of colour.

    Args:
        model: the model to fill.
        gains: what to multiply weights by, for each part of a parameter's name.
    """
    rng = np.random.default_rng(SEED)
    for name, parameter in sorted(model.named_parameters()):
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 1:
            nn.init.ones_(parameter)
        else:
            outputs, inputs, *kernel = parameter.shape
            weight = rng.standard_normal((outputs, inputs)) / inputs**0.5
            if kernel:
                weight = weight[:, :, None, None] * smooth_kernel(kernel[0])
            gain = next((value for part, value in gains.items() if part in name), 1.0)
            parameter.copy_(torch.from_numpy(weight * gain))
    return model


def write_model(out: Path) -> None:
    """Write the diffusers directory, over what is there.

    Args:
        out: the directory that is to hold ``model_index.json``; it is made where it is missing.
    """
    tokenizer = bytewise_tokenizer()
    pipeline = StableDiffusionPipeline(
        # Half precision halves the files. Diffusers reads it as single precision unless another is asked for;
        # transformers would not, so its models stay in single precision.
        vae=seed_weights(make_vae(), VAE_GAINS).half(),
        text_encoder=seed_weights(CLIPTextModel(text_config(tokenizer, TEXT_WIDTH))),
        tokenizer=tokenizer,
        unet=seed_weights(make_unet(), UNET_GAINS).half(),
        scheduler=make_scheduler(),
        safety_checker=seed_weights(make_safety_checker(tokenizer)),
        feature_extractor=make_feature_extractor(),
    )
    # The name that published models have in model_index.json, whichever of the two classes it gets here.
    pipeline.register_to_config(feature_extractor=("transformers", "CLIPImageProcessor"))
    pipeline.save_pretrained(out)
    save_tokenizer(tokenizer, out / "tokenizer")


@cache
def tiny_model() -> Path:
    """The directory of the model, made on first use and gone when the tests end. Do not change it."""
    directory = Path(tempfile.mkdtemp(prefix="tiny-model-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    write_model(directory)
    return directory
