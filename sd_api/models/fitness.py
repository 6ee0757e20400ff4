"""Whether the parts of a model fit each other: what the label of one with a UNet promises, its parts have to keep.

Each part may be in order by itself and the model still fail at its first picture; so this is asked once it is built.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.families.lcm import LatentConsistency
from sd_api.models.families.registry import family_of
from sd_api.models.families.transformer import TransformerFamily
from sd_api.models.image_words import ImageWords
from sd_api.models.pipeline_files import SD_PIPELINES, SDXL_PIPELINES
from sd_api.models.schedulers import Noise, noise_of
from sd_api.models.trial_picture import try_picture
from sd_api.models.trials import TrialError, try_images, try_steps, try_tokens, try_words

# What the families with a UNet use of schedulers, and those for flows alone do not have.
_OF_SCHEDULERS = ("init_noise_sigma", "scale_model_input", "add_noise")
_MADE_FOR: dict[Noise, str] = {
    "flow": "flows",
    "trigonometric": "consistency with angles as times",
    "consistency": "latent consistency",
    "diffusion": "diffusion",
}
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
    family = family_of(pipeline)
    if isinstance(family, (TransformerFamily, LatentConsistency)):
        scheduler, found = type(pipeline.scheduler).__name__, noise_of(pipeline.scheduler)
        # Latent consistency is the same noise, of which fewer steps are made.
        if found != family.noise and (family.noise, found) != ("diffusion", "consistency"):
            raise ModelUnavailable(
                f"{place} has the scheduler {scheduler}, which is for {_MADE_FOR[found]}; those of a "
                f"{type(pipeline).__name__} are for {_MADE_FOR[family.noise]}."
            )
    for suffix in ("", "_2", "_3"):
        tokenizer, encoder = (pipeline.components.get(name + suffix) for name in ("tokenizer", "text_encoder"))
        if tokenizer is None or encoder is None:
            continue
        reason = None
        if isinstance(encoder, CLIPPreTrainedModel):
            reason = _fault_of(try_words, tokenizer, encoder.config)
        elif isinstance(family, TransformerFamily):
            reason = _fault_of(partial(try_tokens, chats=family.chats), tokenizer, encoder.config)
        if reason is not None:
            raise ModelUnavailable(f"{place} has a tokenizer{suffix} that fits no text encoder: {reason}.")
        if isinstance(encoder, CLIPPreTrainedModel):
            tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    processor = pipeline.components.get("processor")
    if isinstance(processor, ImageWords) and (reason := _processor_fault(processor, pipeline.text_encoder)):
        raise ModelUnavailable(f"{place} has a processor that fits no text encoder: {reason}.")
    has_trial = isinstance(family, (TransformerFamily, LatentConsistency))
    if has_trial and (reason := _fault_of(partial(try_picture, family), pipeline)):
        raise ModelUnavailable(f"{place} cannot draw: {reason}.")


def _processor_fault(processor: Any, encoder: Any) -> str | None:
    return _fault_of(try_images, processor) or _fault_of(
        partial(try_tokens, chats=False), processor.tokenizer, encoder.config
    )


def _faults(pipeline: Any) -> Iterator[str]:
    """What does not fit, as ends of sentences that begin with the model's place."""
    yield from _text_faults(pipeline)
    yield from _latent_faults(pipeline)
    missing = [f"it has no {name}" for name in _OF_SCHEDULERS if not hasattr(pipeline.scheduler, name)]
    if reason := next(iter(missing), None) or _fault_of(try_steps, pipeline.scheduler):
        scheduler, kind = type(pipeline.scheduler).__name__, type(pipeline).__name__
        yield f"has a {scheduler}, which cannot make the steps of a {kind} ({reason})"


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


def _fault_of(trial: Callable[..., None], *parts: Any) -> str | None:
    """What one of ``trials`` finds."""
    try:
        trial(*parts)
    except TrialError as error:
        return str(error)
    except Exception as error:
        # Each fails in its own way at what it was not made for.
        return f"{type(error).__name__}: {shown(error, 200)}"
    return None
