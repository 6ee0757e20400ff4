"""Whether the parts of a model fit each other: what the label of one with a UNet promises, its parts have to keep.

Each part may be in order by itself and the model still fail at its first picture; so this is asked once it is built.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.models.pipeline_files import SD_PIPELINES, SDXL_PIPELINES

# Steps of a trial, and the side of its latents.
_STEPS, _SIDE = 3, 8
# Width, height and their kin, which SDXL is conditioned with; refiners have five.
_SIZES, _SIZES_OF_REFINERS = 6, 5


def refuse_unfit(pipeline: Any, place: object) -> None:
    """Refuse a model whose parts do not fit each other; bounds that its tokenizers lack are set.

    Args:
        pipeline: the model as it was built.
        place: its folder or file, for the message.

    Raises:
        ModelUnavailable: with what does not fit.
    """
    has_known_unet = type(pipeline).__name__ in SD_PIPELINES | SDXL_PIPELINES
    if has_known_unet and (fault := next(_faults(pipeline), None)):
        raise ModelUnavailable(f"{place} {fault}.")
    for suffix in ("", "_2"):
        tokenizer, encoder = (pipeline.components.get(name + suffix) for name in ("tokenizer", "text_encoder"))
        if tokenizer is not None and isinstance(encoder, CLIPPreTrainedModel):
            tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)


def _faults(pipeline: Any) -> Iterator[str]:
    """What does not fit, as ends of sentences that begin with the model's place."""
    yield from _text_faults(pipeline)
    yield from _latent_faults(pipeline)
    try:
        try_scheduler(pipeline.scheduler)
    except Exception as error:
        # Each fails in its own way at what it was not made for.
        yield (
            f"has a {type(pipeline.scheduler).__name__}, which cannot make the steps of a {type(pipeline).__name__} "
            f"({type(error).__name__}: {str(error)[:200]})"
        )


def _text_faults(pipeline: Any) -> Iterator[str]:
    unet = pipeline.unet.config
    is_sdxl = type(pipeline).__name__ in SDXL_PIPELINES
    names = ("text_encoder", "text_encoder_2") if is_sdxl else ("text_encoder",)
    encoders: dict[str, Any] = {name: pipeline.components.get(name) for name in names}
    if unet.addition_time_embed_dim and _is_refiner(unet, encoders.get("text_encoder_2")):
        yield (
            "is a refiner: it only improves what Stable Diffusion XL has begun, and cannot draw from a prompt alone. "
            "Choose the base model instead; it makes whole pictures"
        )
    for name, encoder in encoders.items():
        tokenizer = pipeline.components.get(name.replace("text_encoder", "tokenizer"))
        if encoder is None or tokenizer is None:
            missing = name if encoder is None else name.replace("text_encoder", "tokenizer")
            yield f"has no {missing}, which a {type(pipeline).__name__} needs"
            return
        if (words := len(tokenizer)) > (known := encoder.config.vocab_size):
            yield f"has a tokenizer of {words} words for a {name} that knows {known}"
    if (unet.addition_embed_type == "text_time") != is_sdxl:
        made = "Stable Diffusion XL" if unet.addition_embed_type == "text_time" else "Stable Diffusion 1 or 2"
        yield f"is labelled {type(pipeline).__name__}, and its UNet is of {made}"
        return
    width = sum(encoder.config.hidden_size for encoder in encoders.values())
    if width != unet.cross_attention_dim:
        yield f"has text encoders of width {width} for a UNet that takes {unet.cross_attention_dim}"
    if is_sdxl:
        pooled = encoders["text_encoder_2"].config.projection_dim + _SIZES * unet.addition_time_embed_dim
        if pooled != unet.projection_class_embeddings_input_dim:
            yield f"has text encoders of {pooled} pooled numbers for a UNet that takes " + str(
                unet.projection_class_embeddings_input_dim
            )


def _is_refiner(unet: Any, encoder: Any) -> bool:
    """By the one text encoder and the five sizes that it takes."""
    if encoder is None:
        return False
    pooled = encoder.config.projection_dim + _SIZES_OF_REFINERS * unet.addition_time_embed_dim
    return bool(
        unet.cross_attention_dim == encoder.config.hidden_size and unet.projection_class_embeddings_input_dim == pooled
    )


def _latent_faults(pipeline: Any) -> Iterator[str]:
    unet, latent = pipeline.unet.config, pipeline.vae.config.latent_channels
    allowed = {latent: "from text", 2 * latent + 1: "for inpainting", 2 * latent: "for edits"}
    if unet.out_channels != latent or unet.in_channels not in allowed:
        yield (
            f"has a UNet from {unet.in_channels} to {unet.out_channels} channels and an autoencoder of {latent}; this "
            f"server runs those that take {', '.join(map(str, sorted(allowed)))} and give {latent}"
        )


def try_scheduler(scheduler: Any) -> None:
    """Make steps as the families with a UNet do, of nothing.

    Raises:
        Exception: whatever a scheduler raises that was made for something else, or whose numbers are wrong.
    """
    trial = type(scheduler).from_config(scheduler.config)
    trial.set_timesteps(_STEPS, device=torch.device("cpu"))
    sample = torch.full((1, 4, _SIDE, _SIDE), 0.5)
    sample = trial.add_noise(sample, sample, trial.timesteps[:1]) * float(trial.init_noise_sigma > 0)
    for timestep in trial.timesteps:
        output = trial.scale_model_input(sample, timestep) * 0.5
        sample = trial.step(output, timestep, sample, return_dict=False)[0]
    if not sample.isfinite().all():
        raise ValueError("its steps give no numbers")
