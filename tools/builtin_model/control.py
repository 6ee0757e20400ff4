"""A T2I adapter (arXiv:2302.08453) for the built-in model: it keeps the edges that it is given.

diffusers' ControlNetModel has the same number of layers in each block; the built-in UNet has not, so that no ControlNet
fits it.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, T2IAdapter
from diffusers.models.attention_processor import AttnProcessor

from .autoencoder import to_tensor
from .captions import caption
from .latents import encode
from .scenes import random_scene, thing_icons
from .things import COLOURS, THINGS
from .training import SEED, Log, Timer, learning_rate, load, save

BATCH = 8
PEAK_LEARNING_RATE = 1e-3
AVERAGE_DECAY = 0.99
LOW, HIGH = 100, 200
"""The thresholds of the edges, those that servers have as their defaults."""


def make_adapter() -> T2IAdapter:
    """From edges in grey to what is added in the UNet's first three blocks, at 16 x 16, 16 x 16 and 8 x 8 places."""
    return T2IAdapter(
        in_channels=1,
        channels=[64, 96, 160],
        num_res_blocks=2,
        # One latent cell is 16 pixels wide, and the UNet's first block adds behind its downsampling.
        downscale_factor=32,
        adapter_type="full_adapter_xl",
    )


def draw_examples(icons: Path, folder: Path, autoencoder: Any, count: int) -> None:
    """Write scenes as latents, with their edges and what they show; nothing is done where they are there."""
    path = folder / "control_examples.pt"
    if path.exists():
        return
    rng = np.random.default_rng(SEED)
    drawings, things, colours = thing_icons(icons), list(THINGS), list(COLOURS)
    latents, edges, shown = [], [], []
    for _ in range(count):
        thing, colour = things[rng.integers(len(things))], colours[rng.integers(len(colours))]
        scene = random_scene(rng, drawings[thing], colour=colour).draw()
        latents.append(encode(autoencoder, to_tensor(scene)[None])[0].half())
        edges.append(torch.from_numpy(np.packbits(cv2.Canny(np.asarray(scene), LOW, HIGH) > 0)))
        shown.append((things.index(thing), colours.index(colour)))
    save(path, latents=torch.stack(latents), edges=torch.stack(edges), shown=torch.tensor(shown))


class Trainer:
    """The adapter, its average, and what has to be kept to go on after a stop.

    Args:
        folder: Where the examples are, and the checkpoint.
        model: The directory of the built-in model, which does not change.
        minutes: How long it is trained altogether.
    """

    def __init__(self, folder: Path, model: Path, minutes: float) -> None:
        pipeline: Any = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, safety_checker=None)
        self._unet: Any = pipeline.unet.requires_grad_(False).to(memory_format=torch.channels_last)
        # See unet.py.
        self._unet.set_attn_processor(AttnProcessor())
        self._tokenizer, self._text_encoder = pipeline.tokenizer, pipeline.text_encoder
        self._noise: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
        examples = load(folder / "control_examples.pt")
        assert examples is not None
        self._latents, self._edges, self._shown = examples["latents"], examples["edges"], examples["shown"]
        self._adapter, self._average = make_adapter(), make_adapter().requires_grad_(False)
        self._average.load_state_dict(self._adapter.state_dict())
        self._optimizer = torch.optim.AdamW(self._adapter.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
        self._log, self._path = Log(folder / "control.jsonl"), folder / "control.pt"
        self._seconds, self._spent, self._step = 60 * minutes, 0.0, 0
        if (state := load(self._path)) is not None:
            self._adapter.load_state_dict(state["adapter"])
            self._average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step, self._spent = state["step"], state["seconds"]
        self._rng = np.random.default_rng((SEED, self._step))
        torch.manual_seed(SEED + self._step)

    def run(self) -> None:
        """Train until the minutes are over, those of earlier runs included."""
        timer, saved, losses = Timer(), 0.0, []
        while (seconds := self._spent + timer.seconds()) < self._seconds:
            losses.append(self._train_step(seconds / self._seconds))
            if self._step % 50 == 0:
                self._log.write(step=self._step, seconds=seconds, loss=float(np.mean(losses)))
                losses = []
            if timer.seconds() - saved > 120:
                saved = timer.seconds()
                self._save(seconds)
        self._save(self._seconds)

    def _train_step(self, progress: float) -> float:
        """One batch."""
        chosen = self._rng.integers(len(self._latents), size=BATCH)
        latents = self._latents[chosen].float()
        edges = torch.from_numpy(np.unpackbits(self._edges[chosen].numpy(), axis=1)).view(BATCH, 1, 512, 512).float()
        # Where there is most noise, outlines are settled.
        timesteps = (torch.rand(BATCH) ** 0.4 * 1000).long().clamp(max=999)
        noise = torch.randn_like(latents)
        noisy = self._noise.add_noise(latents, noise, timesteps)
        target = self._noise.get_velocity(latents, noise, timesteps)
        things, colours = list(THINGS), list(COLOURS)
        captions = [caption(self._rng, things[thing], colours[colour]) for thing, colour in self._shown[chosen]]
        ids = self._tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            words = self._text_encoder(ids).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            features = self._adapter(edges)
            predicted = self._unet(
                noisy, timesteps, words, down_intrablock_additional_residuals=list(features), return_dict=False
            )[0]
        loss = (predicted.float() - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._adapter.parameters(), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(progress, PEAK_LEARNING_RATE)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        decay = min(AVERAGE_DECAY, (1 + self._step) / (10 + self._step))
        with torch.no_grad():
            for average, parameter in zip(self._average.parameters(), self._adapter.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)
        return float(loss.detach())

    def _save(self, seconds: float) -> None:
        save(
            self._path,
            adapter=self._adapter.state_dict(),
            average=self._average.state_dict(),
            optimizer=self._optimizer.state_dict(),
            step=self._step,
            seconds=seconds,
        )


def export(folder: Path, out: Path) -> None:
    """Write the averaged adapter of the checkpoint in ``folder``, in half precision."""
    state = load(folder / "control.pt")
    assert state is not None
    adapter: Any = make_adapter()
    adapter.load_state_dict(state["average"])
    adapter.half().save_pretrained(out)
