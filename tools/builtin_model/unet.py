"""The UNet and the text encoder, trained together on latents and captions."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from . import text, text_training
from .captions import caption
from .latents import Canvases
from .optimizer import MuonWithAdamW
from .training import SEED, Log, Timer, learning_rate, load, save

BATCH = 32
PEAK_LEARNING_RATE = 1.5e-3
EMA_DECAY = 0.995
FIRST_PHASE = 0.4
"""The part of the time in which things are learned at one scale only, before pictures of other sizes come in."""
MISLED, MISLED_BELOW, MISLED_NEVER_ABOVE = 0.5, 400, 700
"""The share of captions that are another picture's up to a timestep; none of those above another one are."""
SIZES = ((16, 16), (24, 24), (32, 24), (24, 32), (40, 40), (48, 32), (32, 48), (48, 48))
"""Canvases besides the native 32 x 32, as (height, width) in cells."""

SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
}
"""Stable Diffusion's noise (its model card); velocity, because it learns all noise levels alike (arXiv 2202.00512)."""


def make_unet() -> UNet2DConditionModel:
    """A velocity predictor for 32 x 32 latents, which are 512 x 512 pixels."""
    return UNet2DConditionModel(
        sample_size=32,
        # Where there are few places, layers cost next to nothing, and it is they that see the picture as a whole.
        block_out_channels=(64, 96, 160, 160),
        layers_per_block=(1, 1, 2, 1),
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        attention_head_dim=(2, 3, 5, 5),
        cross_attention_dim=text.WIDTH,
        norm_num_groups=16,
    )


class Trainer:
    """The models, their averages, and what has to be kept to go on after a stop."""

    def __init__(self, folder: Path, canvases: Canvases, minutes: float) -> None:
        torch.manual_seed(SEED)
        self._canvases = canvases
        self._seconds = 60 * minutes
        self._tokenizer = text.make_tokenizer()
        self._noise = DDPMScheduler(**SCHEDULE)
        unet: Any = make_unet().to(memory_format=torch.channels_last)
        # The fused kernel's backward pass takes eight times as long on a CPU.
        unet.set_attn_processor(AttnProcessor())
        self._models: Any = torch.nn.ModuleDict(
            {"unet": unet, "text_encoder": text_training.pretrained(folder, self._tokenizer)}
        )
        self._averages = copy.deepcopy(self._models).requires_grad_(False)
        matrices = [
            parameter
            for name, parameter in unet.named_parameters()
            if parameter.ndim > 1 and not name.startswith(("conv_in", "conv_out"))
        ]
        chosen = set(matrices)
        others = [parameter for parameter in self._models.parameters() if parameter not in chosen]
        self._optimizer = MuonWithAdamW(matrices, others, PEAK_LEARNING_RATE)
        self._log, self._path = Log(folder / "unet.jsonl"), folder / "unet.pt"
        self._step, self._spent, self._samples = 0, 0.0, 0
        if (state := load(self._path)) is not None:
            self._models.load_state_dict(state["models"])
            self._averages.load_state_dict(state["averages"])
            if "optimizer" in state:
                self._optimizer.load_state_dict(state["optimizer"])
            self._step, self._spent, self._samples = state["step"], state["seconds"], state["samples"]
        self._rng = np.random.default_rng((SEED, self._step))
        torch.manual_seed(SEED + self._step)

    def run(self) -> None:
        """Train until the minutes are over, those of earlier runs included."""
        timer, saved, losses = Timer(), 0.0, []
        while (seconds := self._spent + timer.seconds()) < self._seconds:
            progress = seconds / self._seconds
            losses.append(self._train_step(progress))
            if self._step % 100 == 0:
                self._log.write(step=self._step, samples=self._samples, seconds=seconds, loss=float(np.mean(losses)))
                losses = []
            if timer.seconds() - saved > 180:
                saved = timer.seconds()
                self._save(seconds)
        self._save(self._seconds)

    def _train_step(self, progress: float) -> float:
        """One batch."""
        height, width, share = 32, 32, (0.6, 0.9)
        if progress < FIRST_PHASE:
            # Things as large as at the native size, on less background: nearly twice as many in the same time.
            height, width, share = 24, 24, (0.84, 0.92)
        elif self._rng.random() < 0.2:
            height, width = SIZES[self._rng.integers(len(SIZES))]
        # Larger ones take as long as those of the native size.
        count = min(BATCH, BATCH * 32 * 32 // (height * width))
        latents, shown = self._canvases.batch(self._rng, count, height, width, share)
        latents = latents.to(memory_format=torch.channels_last)
        # One from each of ``count`` equal parts of the range: the loss then varies less between batches.
        # More of them where there is more noise, because that is where it is settled what the picture shows.
        places = ((torch.arange(count) + torch.rand(count)) / count) ** 0.75
        timesteps = (places * 1000).long().clamp(max=999)
        captions = [
            caption(self._rng, *self._captioned(shown, row, int(timestep))) for row, timestep in enumerate(timesteps)
        ]
        noise = torch.randn_like(latents)
        noisy = self._noise.add_noise(latents, noise, timesteps)
        target = self._noise.get_velocity(latents, noise, timesteps)
        ids = self._tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast("cpu", torch.bfloat16):
            states = self._models["text_encoder"](ids).last_hidden_state
            predicted = self._models["unet"](noisy, timesteps, states).sample
        loss = (predicted.float() - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._models.parameters(), 1.0)
        # The course follows the time, because a faster machine does more steps in it.
        self._optimizer.step(learning_rate(progress, PEAK_LEARNING_RATE))
        self._step += 1
        self._samples += count
        self._average()
        return float(loss.detach())

    def _captioned(self, shown: list[tuple[str | None, str]], row: int, timestep: int) -> tuple[str | None, str]:
        """What a row's caption says it shows; where there is little noise, often what another row shows.

        There the latents themselves tell what they show, so that words add nothing, and the model learns not to
        listen. Otherwise guidance would multiply what it hears, which is errors only: at 7.5 they ruin the picture.
        """
        misled = MISLED * min(1.0, max(0.0, (MISLED_NEVER_ABOVE - timestep) / (MISLED_NEVER_ABOVE - MISLED_BELOW)))
        return shown[self._rng.integers(len(shown))] if self._rng.random() < misled else shown[row]

    @torch.no_grad()
    def _average(self) -> None:
        """Pull the averages to the models; faster at first, while those move far."""
        decay = min(EMA_DECAY, (1 + self._step) / (10 + self._step))
        for average, parameter in zip(self._averages.parameters(), self._models.parameters(), strict=True):
            average.lerp_(parameter, 1 - decay)

    def _save(self, seconds: float) -> None:
        save(
            self._path,
            models=self._models.state_dict(),
            averages=self._averages.state_dict(),
            optimizer=self._optimizer.state_dict(),
            step=self._step,
            samples=self._samples,
            seconds=seconds,
        )


def trained(folder: Path) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """The averaged models of the checkpoint in ``folder``, and the tokenizer."""
    tokenizer = text.make_tokenizer()
    models: Any = torch.nn.ModuleDict({"unet": make_unet(), "text_encoder": text.make_text_encoder(tokenizer)})
    state = load(folder / "unet.pt")
    assert state is not None
    models.load_state_dict(state["averages"])
    return models["unet"].eval(), models["text_encoder"].eval(), tokenizer
