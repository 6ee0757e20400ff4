"""A model of the true shape of Stable Diffusion 1.5 with random weights, which how fast it is does not depend on."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from huggingface_hub import cached_assets_path
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sd_api.models.sources import SD1_CONFIG

SEED = 20

# Of one UNet call for one picture of 512 x 512 with guidance, counted by torch's FlopCounterMode.
TFLOP_PER_STEP = 1.61


def model_directory() -> Path:
    """The model's directory; it is made the first time, 4 GB in the hub's cache folder."""
    path = cached_assets_path("sd-api-server", "benchmarks") / "sd15-random"
    if not (path / "model_index.json").exists():
        torch.manual_seed(SEED)
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(SD1_CONFIG / "unet")),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(SD1_CONFIG / "vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(SD1_CONFIG / "text_encoder")),
            "tokenizer": CLIPTokenizer.from_pretrained(SD1_CONFIG / "tokenizer"),
            "scheduler": PNDMScheduler.from_pretrained(SD1_CONFIG / "scheduler"),
        }
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
        pipeline.save_pretrained(path)
    return path
