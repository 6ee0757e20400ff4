"""Trains a LoRA and an embedding for the built-in model, from its own pictures; needs neither the icons nor cairo.

    python -m tools.builtin_model.adapters lora
    python -m tools.builtin_model.adapters embedding

Each takes some minutes on one core, goes on where it was interrupted, and writes a file that the tests use.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

from .captions import caption, fill
from .things import BLOCKED, COLOURS, THINGS
from .training import SEED, Log, Timer, learning_rate, load, save

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "sd_api" / "models" / "builtin"
WORK = ROOT / "build" / "builtin_model"
OUT = ROOT / "tests" / "models" / "adapters"
SIDE, BATCH = 384, 8
RANK, LORA_STEPS, LORA_RATE = 4, 900, 1e-3
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2"]

LORA, WORD, MEANT, BEGIN = "black-and-white", "rusty", "fox", "icon"
"""The word that is learned, what its pictures show, and the word with whose embedding it begins."""
WORD_STEPS, WORD_RATE = 200, 5e-3

Shown = tuple[str, str]
"""A thing and the colour behind it."""


def greyed(picture: Image.Image) -> Image.Image:
    """The style that the LoRA learns: a picture without colours."""
    return picture.convert("L").convert("RGB")


def as_drawn(picture: Image.Image) -> Image.Image:
    """What the embedding learns: pictures as they are."""
    return picture


class Lessons:
    """Latents of pictures that the model drew, changed by a function; made once and kept in a file."""

    def __init__(self, pipeline: Any, shown: list[Shown], change: Callable[[Image.Image], Image.Image]) -> None:
        self._pipeline = pipeline
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        self.shown = shown
        path = WORK / f"{change.__name__}.pt"
        state = load(path) or {"latents": []}
        latents: list[torch.Tensor] = state["latents"]
        while BATCH * len(latents) < len(self.shown):
            some = self.shown[BATCH * len(latents) :][:BATCH]
            latents.append(self._taught(some, change, seed=SEED + len(latents)))
            save(path, latents=latents)
            print(f"{BATCH * len(latents)} of {len(self.shown)} pictures", flush=True)
        self.latents = torch.cat(latents).float()

    @torch.no_grad()
    def _taught(self, shown: list[Shown], change: Callable[[Image.Image], Image.Image], seed: int) -> torch.Tensor:
        prompts = [fill("{a} {thing} on {b} {colour} background", *each) for each in shown]
        with torch.autocast("cpu", torch.bfloat16):
            pictures = self._pipeline(
                prompts,
                width=SIDE,
                height=SIDE,
                num_inference_steps=12,
                guidance_scale=5.0,
                generator=torch.Generator().manual_seed(seed),
            ).images
        changed = [change(picture) for picture in pictures]
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in changed])).permute(0, 3, 1, 2)
        latents: torch.Tensor = self._pipeline.vae.encode(pixels.float() / 127.5 - 1).latents
        return latents.half()


def _load_pipeline() -> Any:
    pipeline: Any = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    pipeline.register_modules(safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(requires_grad=False)
    return pipeline


def _train(
    pipeline: Any,
    lessons: Lessons,
    name: str,
    trained: Callable[[], dict[str, torch.Tensor]],
    restore: Callable[[dict[str, torch.Tensor]], object],
    parameters: list[torch.nn.Parameter],
    caption_of: Callable[[np.random.Generator, Shown], str],
    steps: int,
    rate: float,
) -> None:
    """Train some parameters to predict the velocity of the lessons' latents (arXiv:2202.00512)."""
    path, log = WORK / f"{name}.pt", Log(WORK / f"{name}.jsonl")
    pipeline.unet.set_attn_processor(AttnProcessor())
    pipeline.text_encoder.set_attn_implementation("eager")
    noise_schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    done = 0
    if (state := load(path)) is not None:
        restore(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    rng, timer, losses = np.random.default_rng((SEED, done)), Timer(), []
    torch.manual_seed(SEED + done)
    for step in range(done + 1, steps + 1):
        chosen = rng.integers(len(lessons.shown), size=BATCH)
        latents = lessons.latents[torch.from_numpy(chosen)]
        timesteps = (((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH) ** 0.75 * 1000).long().clamp(max=999)
        noise = torch.randn_like(latents)
        captions = [caption_of(rng, lessons.shown[index]) for index in chosen]
        ids = pipeline.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast("cpu", torch.bfloat16):
            states = pipeline.text_encoder(ids).last_hidden_state
            predicted = pipeline.unet(noise_schedule.add_noise(latents, noise, timesteps), timesteps, states).sample
        loss = (predicted.float() - noise_schedule.get_velocity(latents, noise, timesteps)).square().mean()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step / steps, rate)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if step % 50 == 0 or step == steps:
            log.write(step=step, seconds=timer.seconds(), loss=float(np.mean(losses)))
            losses = []
            save(path, weights=trained(), optimizer=optimizer.state_dict(), step=step)


@click.group()
def main() -> None:
    """Train what changes the built-in model without being part of it."""


@main.command("lora")
def lora_command() -> None:
    """A LoRA for pictures without colours."""
    pipeline = _load_pipeline()
    things, colours = [thing for thing in THINGS if thing != BLOCKED], list(COLOURS)
    lessons = Lessons(pipeline, [(thing, colours[number % 12]) for number, thing in enumerate(things)], greyed)
    unet = pipeline.unet
    torch.manual_seed(SEED)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    _train(
        pipeline,
        lessons,
        LORA,
        lambda: get_peft_model_state_dict(unet),
        lambda weights: set_peft_model_state_dict(unet, weights),
        [parameter for parameter in unet.parameters() if parameter.requires_grad],
        lambda rng, shown: caption(rng, *shown),
        LORA_STEPS,
        LORA_RATE,
    )
    weights = get_peft_model_state_dict(unet)
    OUT.mkdir(parents=True, exist_ok=True)
    halves = {f"unet.{key}": tensor.detach().half().contiguous() for key, tensor in weights.items()}
    save_file(halves, OUT / f"{LORA}.safetensors")


@main.command("embedding")
def embedding_command() -> None:
    """A word for what some pictures show."""
    pipeline = _load_pipeline()
    lessons = Lessons(pipeline, [(MEANT, colour) for colour in (*COLOURS, *COLOURS)], as_drawn)
    words = pipeline.text_encoder.get_input_embeddings()
    # The embedding of a known word is where it begins, and that word is its place in the captions.
    token = pipeline.tokenizer(BEGIN).input_ids[1]
    vector = torch.nn.Parameter(words.weight[token].clone())

    def replace(_module: object, arguments: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return torch.where((arguments[0] == token)[..., None], vector, output)

    def restore(weights: dict[str, torch.Tensor]) -> None:
        vector.data.copy_(weights["emb_params"][0])

    handle = words.register_forward_hook(replace)
    _train(
        pipeline,
        lessons,
        WORD,
        lambda: {"emb_params": vector.detach()[None].clone()},
        restore,
        [vector],
        lambda rng, shown: caption(rng, BEGIN, shown[1]),
        WORD_STEPS,
        WORD_RATE,
    )
    handle.remove()
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vector.detach()[None].half()}, OUT / f"{WORD}.safetensors")


if __name__ == "__main__":
    main()
