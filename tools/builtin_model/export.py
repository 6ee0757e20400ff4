"""Puts the trained parts together as a Stable Diffusion 1.x directory."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline

from . import autoencoder, safety, text, unet
from .training import save


def make_scheduler() -> PNDMScheduler:
    """Stable Diffusion 1.5's own scheduler, with the noise that the model was trained for."""
    scheduler = PNDMScheduler(**unet.SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    # Not for this scheduler, but for those that are made from its configuration.
    scheduler.register_to_config(clip_sample=False)
    return scheduler


def export(folder: Path, out: Path) -> None:
    """Write what was trained in ``folder`` to ``out``, in half precision."""
    trained_unet, text_encoder, tokenizer = unet.trained(folder)
    pipeline: Any = StableDiffusionPipeline(
        vae=autoencoder.trained(folder).half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        unet=trained_unet.half(),
        scheduler=make_scheduler(),
        safety_checker=safety.trained(folder, tokenizer).half(),
        feature_extractor=safety.make_feature_extractor(),
    )
    # The name that published models have in model_index.json, whichever of the two classes it gets here.
    pipeline.register_to_config(feature_extractor=("transformers", "CLIPImageProcessor"))
    pipeline.save_pretrained(out)
    text.save_tokenizer(tokenizer, out / "tokenizer")
    for part in ("text_encoder", "safety_checker"):
        _read_as_single_precision(out / part / "config.json")


def _read_as_single_precision(config: Path) -> None:
    """Where nobody names a precision, transformers takes this one, and diffusers takes single for its own parts."""
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(values | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def restore(model: Path, folder: Path) -> None:
    """The reverse: checkpoints in ``folder`` from a model's directory, to train on where another run has ended."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    save(folder / "autoencoder.pt", model=pipeline.vae.state_dict(), step=0, seconds=0.0)
    save(folder / "safety.pt", checker=pipeline.safety_checker.state_dict())
    models = torch.nn.ModuleDict({"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}).state_dict()
    save(folder / "text_encoder.pt", model=pipeline.text_encoder.state_dict())
    save(folder / "unet.pt", models=models, averages=models, step=0, samples=0, seconds=0.0)
