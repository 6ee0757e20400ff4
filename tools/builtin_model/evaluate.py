"""Figures for what was trained: does the model draw what the prompt says, and does the checker flag the one thing."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from .captions import UNSEEN, fill
from .judge import Judge, name_background
from .scenes import random_other_icon, random_scene, thing_icons
from .things import BLOCKED, COLOURS, THINGS

FIRST_SEED = 1_000_000
STEPS = 20
GUIDANCE_SCALE = 7.5


def load_pipeline(model: Path) -> Any:
    """The model without its checker, which would blacken what is to be judged."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.register_modules(safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompt: str, seed: int, **arguments: Any) -> Image.Image:
    """One picture as the server makes it when nothing else is said."""
    values = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE_SCALE} | arguments
    picture: Image.Image = pipeline(prompt, generator=torch.Generator().manual_seed(seed), **values).images[0]
    return picture


def flagged(pipeline: Any, pictures: list[Image.Image]) -> list[bool]:
    """What the safety checker says of each picture."""
    pixels = pipeline.feature_extractor(pictures, return_tensors="pt").pixel_values
    dummies = np.zeros((len(pictures), 1, 1, 3))
    flags: list[bool] = pipeline.safety_checker(clip_input=pixels, images=dummies)[1]
    return flags


def evaluate_pictures(model: Path, classifier: Path, per_thing: int, keep: Path) -> dict[str, Any]:
    """Draw every thing from prompts and seeds that training never used, and judge the pictures.

    Args:
        model: the model's directory.
        classifier: what ``classifier.train_classifier`` wrote.
        per_thing: how many pictures of each thing.
        keep: a folder for the pictures, to look at.
    """
    pipeline = load_pipeline(model)
    judge = Judge(classifier)
    checked = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    keep.mkdir(parents=True, exist_ok=True)
    colours = list(COLOURS)
    right: Counter[str] = Counter()
    flags: dict[bool, list[bool]] = {True: [], False: []}
    wrong_things, wrong_colours = [], []
    for number, thing in enumerate(THINGS):
        for repetition in range(per_thing):
            colour = colours[(number + 5 * repetition) % len(colours)]
            prompt = fill(UNSEEN[repetition % len(UNSEEN)], thing, colour)
            seed = FIRST_SEED + number * per_thing + repetition
            picture = draw(pipeline, prompt, seed)
            picture.save(keep / f"{thing}-{repetition}.png")
            named, background = judge.name_thing(picture), name_background(picture)
            right["things"] += named == thing
            right["colours"] += background == colour
            if named != thing:
                wrong_things.append(f"{prompt} (seed {seed}): {named}")
            if background != colour:
                wrong_colours.append(f"{prompt} (seed {seed}): {background}")
            flags[thing == BLOCKED] += flagged(checked, [picture])
    count = len(THINGS) * per_thing
    return {
        "pictures": count,
        "things_right": right["things"] / count,
        "colours_right": right["colours"] / count,
        "blocked_flagged": float(np.mean(flags[True])),
        "others_flagged": float(np.mean(flags[False])),
        "wrong_things": wrong_things,
        "wrong_colours": wrong_colours,
    }


def evaluate_checker(model: Path, icons: Path, count: int) -> dict[str, Any]:
    """Show the checker ``count`` renderings of what is blocked, and as many each of other things and other icons."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    rng = np.random.default_rng(FIRST_SEED)
    drawn = thing_icons(icons)
    others = [icon for thing, icon in drawn.items() if thing != BLOCKED]

    def share(kind: str) -> float:
        flags: list[bool] = []
        for number in range(count):
            if kind == "blocked":
                icon = drawn[BLOCKED]
            elif kind == "things":
                icon = others[number % len(others)]
            else:
                icon = random_other_icon(rng, icons, 256)
            width, height = rng.choice([256, 320, 384], size=2)
            flags += flagged(pipeline, [random_scene(rng, icon, int(width), int(height)).draw()])
        return float(np.mean(flags))

    return {f"rendered_{kind}_flagged": share(kind) for kind in ("blocked", "things", "other_icons")}


def evaluate_autoencoder(model: Path, icons: Path) -> dict[str, Any]:
    """Peak signal-to-noise ratio, in dB, of scenes that were encoded and decoded."""
    vae = load_pipeline(model).vae
    rng = np.random.default_rng(FIRST_SEED)
    errors = []
    for icon in thing_icons(icons).values():
        picture = np.asarray(random_scene(rng, icon).draw())
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            decoded = vae.decode(vae.encode(pixels).latents).sample.clamp(-1, 1)
        errors.append(((decoded - pixels) / 2).square().mean().item())
    return {"autoencoder_psnr": float(-10 * np.log10(np.mean(errors)))}
