"""Tiny random models of architectures that have no family here, saved to directories as published ones are."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.models import UNet2DConditionModel
from tiny_families import tokenizer
from tiny_tokenizers import word_tokenizer
from tiny_transformers import (
    flux2_klein,
    krea2,
    qwen_image,
    qwen_image_edit,
    qwen_image_edit_plus,
    z_image,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    T5Config,
    T5EncoderModel,
)

from sd_api.models.image_words import ImageWords
from tools.builtin_model.text import text_config

WIDTH = 32


def clip(projection: bool = False) -> Any:
    config = text_config(tokenizer(), WIDTH)
    config.hidden_act = "gelu"
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=128, d_model=WIDTH, d_ff=37, d_kv=8, num_layers=2, num_heads=4, is_encoder_decoder=False)
    )


def vae(channels: int, **config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        **config,
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip(projection=True),
        tokenizer=tokenizer(),
        text_encoder_2=clip(projection=True),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=word_tokenizer(),
    )


def flux_parts(channels: int = 4, *, guidance: bool = True) -> dict[str, Any]:
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        "text_encoder": clip(),
        "tokenizer": tokenizer(),
        "text_encoder_2": t5(),
        "tokenizer_2": word_tokenizer(),
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=channels,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=guidance,
        ),
    }


def flux() -> FluxPipeline:
    return FluxPipeline(**flux_parts())


def flux_schnell() -> FluxPipeline:
    return FluxPipeline(**flux_parts(guidance=False))


def flux_fill() -> FluxFillPipeline:
    # The latents, those of what is kept, and 64 pixels of the mask, of 4 cells each.
    return FluxFillPipeline(**flux_parts(4 * (1 + 1 + 64)))


def flux_control() -> FluxControlPipeline:
    # The latents and those of the map.
    return FluxControlPipeline(**flux_parts(4 * 2))


def flux_kontext() -> FluxKontextPipeline:
    return FluxKontextPipeline(**flux_parts())


def chroma() -> ChromaPipeline:
    parts = flux_parts()
    return ChromaPipeline(
        scheduler=parts["scheduler"],
        vae=parts["vae"],
        text_encoder=t5(),
        tokenizer=word_tokenizer(),
        transformer=ChromaTransformer2DModel(
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
    )


def pixart_sigma() -> PixArtSigmaPipeline:
    return PixArtSigmaPipeline(
        tokenizer=word_tokenizer(),
        text_encoder=t5(),
        vae=vae(4),
        transformer=PixArtTransformer2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=WIDTH,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            norm_type="ada_norm_single",
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def gemma() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=128,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=4096,
        )
    )


def lumina_2() -> Lumina2Pipeline:
    return Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=32,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(4, 4, 4),
            axes_lens=(300, 64, 64),
            cap_feat_dim=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=vae(4, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=gemma(),
        tokenizer=word_tokenizer(),
    )


def sana_parts(*, guidance: bool = False) -> dict[str, Any]:
    return {
        "tokenizer": word_tokenizer(),
        "text_encoder": gemma(),
        "vae": AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            # Six of them, because a cell of the published one has 32 pixels.
            encoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
            decoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
            encoder_block_out_channels=(8,) * 6,
            decoder_block_out_channels=(8,) * 6,
            encoder_qkv_multiscales=((),) * 5 + ((5,),),
            decoder_qkv_multiscales=((),) * 5 + ((5,),),
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=[1] * 6,
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        "transformer": SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            sample_size=32,
            guidance_embeds=guidance,
        ),
    }


def sana() -> SanaPipeline:
    return SanaPipeline(scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0), **sana_parts())


def sana_sprint() -> SanaSprintPipeline:
    return SanaSprintPipeline(scheduler=SCMScheduler(), **sana_parts(guidance=True))


def latent_consistency() -> LatentConsistencyModelPipeline:
    return LatentConsistencyModelPipeline(
        vae=vae(4),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            norm_num_groups=2,
            time_cond_proj_dim=32,
            attention_head_dim=2,
        ),
        scheduler=LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "stable diffusion 3": stable_diffusion_3,
    "flux": flux,
    "flux schnell": flux_schnell,
    "flux fill": flux_fill,
    "flux control": flux_control,
    "flux kontext": flux_kontext,
    "flux.2 klein": flux2_klein,
    "flux.2 klein kv": lambda: flux2_klein(Flux2KleinKVPipeline),
    "chroma": chroma,
    "qwen-image": qwen_image,
    "qwen-image-edit": qwen_image_edit,
    "qwen-image-edit-plus": qwen_image_edit_plus,
    "z-image": lambda: z_image(vae(4, shift_factor=0.06, scaling_factor=1.5)),
    "krea 2": krea2,
    "pixart sigma": pixart_sigma,
    "sana": sana,
    "sana sprint": sana_sprint,
    "lumina 2": lumina_2,
    "latent consistency": latent_consistency,
}


@cache
def weights(name: str) -> Any:
    """The pipeline of a name, in memory, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pipeline = PIPELINES[name]()
    pipeline.set_progress_bar_config(disable=True)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval()
    return pipeline


def write_pipeline(name: str, directory: Path) -> Path:
    """Save it with ``model_index.json``."""
    weights(name).save_pretrained(directory)
    _publish_processor(directory)
    return directory


def _publish_processor(directory: Path) -> None:
    """Have the processor as published models do: the one that takes videos as well, its images in a file of theirs."""
    index, saved = directory / "model_index.json", directory / "processor" / "processor_config.json"
    if not saved.exists():
        return
    text = index.read_text(encoding="utf-8")
    text = text.replace(ImageWords.__module__, "transformers").replace(ImageWords.__name__, "Qwen2VLProcessor")
    index.write_text(text, encoding="utf-8")
    images = json.loads(saved.read_text(encoding="utf-8"))["image_processor"]
    saved.with_name("preprocessor_config.json").write_text(json.dumps(images), encoding="utf-8")
    saved.unlink()
