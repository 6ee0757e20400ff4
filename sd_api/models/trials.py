"""Tries what a model's configurations say before it is needed: a scheduler's steps, a tokenizer's tokens, a scale."""

from typing import Any

import torch
from PIL import Image

from sd_api.models.allowed_classes import shown
from sd_api.models.autoencoder import has_scale, latent_channels, scaled, unscaled
from sd_api.models.families.flow import linear_shift, set_timesteps
from sd_api.models.schedulers import make_scheduler, noised, step_options

# The steps of a trial, and the side of its latents.
_STEPS, _SIDE = 3, 8
# The pixels of a side of a picture.
_PICTURE = 64
# The tokens before and after those of the words.
_FRAME = 2


class TrialError(Exception):
    """A part does what it should not; the text is a sentence's end that begins with the part."""


def try_steps(scheduler: Any) -> None:
    """Make steps as the families do, of nothing.

    Args:
        scheduler: a model's own, which is not changed.

    Raises:
        TrialError: the steps give no numbers.
        Exception: whatever a scheduler raises that was made for something else, or whose numbers are wrong.
    """
    trial = make_scheduler(None, scheduler)
    shift = linear_shift(trial.config, _SIDE**2) if trial.config.get("use_dynamic_shifting") else None
    set_timesteps(trial, _STEPS, torch.device("cpu"), sigmas=None, shift=shift)
    options = step_options(trial, 0.0, torch.Generator())
    sample = torch.full((1, 4, _SIDE, _SIDE), 0.5)
    sample = noised(trial, sample, sample, trial.timesteps[:1]) * float(getattr(trial, "init_noise_sigma", 1) > 0)
    for timestep in trial.timesteps:
        scaled = trial.scale_model_input(sample, timestep) if hasattr(trial, "scale_model_input") else sample
        sample = trial.step(scaled * 0.5, timestep, sample, return_dict=False, **options)[0]
    if not sample.isfinite().all():
        raise TrialError("its numbers make no noise schedule: what is left after its steps are not numbers")


def try_words(tokenizer: Any, encoder: Any) -> None:
    """Have words read, as a pipeline has them read for CLIP: as many tokens as there may be.

    Args:
        tokenizer: of a text encoder.
        encoder: the configuration of the text encoder.

    Raises:
        TrialError: the tokenizer has no room for words, or tokens that the text encoder does not know.
        Exception: whatever the tokenizer raises.
    """
    longest, most = tokenizer.model_max_length, encoder.max_position_embeddings
    if not isinstance(longest, int) or longest <= _FRAME:
        raise TrialError(f"its model_max_length is {shown(longest)}; the text encoder reads {most} tokens")
    # Where it names no bound or a wide one, loading sets the text encoder's.
    longest = min(longest, most)
    tokens = tokenizer("a", padding="max_length", max_length=longest, truncation=True).input_ids
    if (highest := max(*tokens, *tokenizer.get_vocab().values())) >= encoder.vocab_size:
        raise TrialError(f"it has a token {highest}, and the text encoder knows {encoder.vocab_size}")


def try_tokens(tokenizer: Any, encoder: Any, *, chats: bool) -> None:
    """Have words read as the families with a transformer have them read: padded, within a chat where they are so.

    Args:
        tokenizer: of a text encoder.
        encoder: the configuration of the text encoder.
        chats: whether prompts are written into a chat, by the template of the tokenizer.

    Raises:
        TrialError: the tokenizer has no room for words, or tokens that the text encoder does not know.
        Exception: whatever the tokenizer raises.
    """
    if not isinstance(longest := tokenizer.model_max_length, int | float) or longest <= _FRAME:
        raise TrialError(f"its model_max_length is {shown(longest)}, which should be a number of tokens")
    text = "a"
    if chats:
        message = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        if not text:
            raise TrialError("its template of a chat leaves nothing of a prompt")
    tokens = tokenizer([text, "a b"], padding="max_length", max_length=2 * _FRAME, truncation=True).input_ids
    known = encoder.get_text_config().vocab_size
    if (highest := max(*tokens[0], *tokens[1], *tokenizer.get_vocab().values())) >= known:
        raise TrialError(f"it has a token {highest}, and the text encoder knows {known}")


def try_images(processor: Any) -> None:
    """Have a processor prepare a picture for a text encoder that sees images.

    Args:
        processor: of the text encoder.

    Raises:
        TrialError: what comes out are not numbers.
        Exception: whatever the processor raises.
    """
    picture = Image.new("RGB", (2 * _PICTURE, _PICTURE))
    if not processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"].isfinite().all():
        raise TrialError("what its processor makes of a picture are not numbers")


def try_scale(part: Any) -> None:
    """Take latents into the denoiser's range and out of it, where the part is an autoencoder that says how.

    Args:
        part: a network, which may be on the device ``meta``.

    Raises:
        TrialError: what comes out are not numbers.
        Exception: whatever is raised where the scale is none of numbers, or one for other latents.
    """
    if not has_scale(part):
        return
    latents = scaled(part, torch.ones(1, latent_channels(part), 1, 1), random=True)
    if not (latents.isfinite() & unscaled(part, latents).isfinite()).all():
        raise TrialError("its numbers scale no latents: what comes out of its scale are not numbers")
