"""Teaches the built-in model what weights in prompts mean; needs neither the icons nor cairo.

    python -m tools.builtin_model.emphasis

A model that was trained without weights reads what it likes best of the text encoder's states, and this one read those
of the tokens that fill the chunk. They say the whole prompt, and weights change only the states of the words. Here the
model learns from itself, in three stages. The target of a prompt in which a span has the weight w is what the model as
it was makes of the prompt without the span, plus w times what the span adds, which is how guidance weighs a prompt
(arXiv:2207.12598); where nothing has a weight, it is what the model makes of the prompt already.

1. The text encoder learns to say each word's part in the word's own state, so that a sum over the words is what the
   mean over all states was, and to leave the filling tokens as they are in an empty prompt.
2. The UNet's cross-attention learns to read that: each layer by itself gives what it gave before.
3. Both learn together what the whole UNet predicts.

It takes about 40 minutes on one core and goes on where it was interrupted.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .captions import caption
from .drawn_latents import DrawnLatents
from .things import COLOURS, THINGS
from .training import SEED, Log, Timer, learning_rate, load, save
from .weighted_prompts import Prompts, lesson, read

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "sd_api" / "models" / "builtin"
WORK = ROOT / "build" / "builtin_model"

TEXT_SAMPLES, TEXT_STEPS, TEXT_BATCH, TEXT_RATE, SUM_RATE = 4000, 2000, 128, 1e-3, 3e-3
LAYER_STEPS, LAYER_BATCH, LAYER_RATE, LAYER_TEXT_RATE = 600, 24, 2e-3, 5e-4
WHOLE_STEPS, WHOLE_RATE, WHOLE_TEXT_RATE, EMA_DECAY = 1500, 4e-4, 1e-4, 0.995
FORWARDS, QUERIES = 500, 32
"""Of the UNet, to see what its cross-attention asks for, and how many places of each picture are kept of it."""

MISLED = 0.3
"""The share of captions that say what another picture shows."""

Loss = Callable[[np.random.Generator], torch.Tensor]
"""Of one batch."""


class Emphasis:
    """The model as it was, and the one that learns.

    Attributes:
        text: The text encoder that learns; the embeddings of its tokens stay, so that trained words keep their meaning.
        unet: The UNet that learns, in its cross-attention alone.
    """

    def __init__(self) -> None:
        pipeline: Any = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
        pipeline.register_modules(safety_checker=None)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        # As in the UNet's training: the fused kernel's backward pass is slow on a CPU.
        pipeline.unet.requires_grad_(False).set_attn_processor(AttnProcessor())
        pipeline.text_encoder.requires_grad_(False).set_attn_implementation("eager")
        self._tokenizer, self._noise = pipeline.tokenizer, DDPMScheduler.from_config(pipeline.scheduler.config)
        self._old_text, self._old_unet = pipeline.text_encoder, pipeline.unet
        self.text, self.unet = copy.deepcopy(self._old_text), copy.deepcopy(self._old_unet)
        self.text.requires_grad_(True).get_input_embeddings().requires_grad_(False)
        self._words = [parameter for parameter in self.text.parameters() if parameter.requires_grad]
        self._layers = {name: layer for name, layer in self.unet.named_modules() if name.endswith(".attn2")}
        for layer in self._layers.values():
            layer.requires_grad_(True)
        self._drawn = DrawnLatents(pipeline, WORK / "drawn_latents.pt")
        with torch.no_grad():
            self._nothing = self._read(read(self._tokenizer, [""]))

    def learn_words(self) -> None:
        """The first stage."""
        total = nn.Linear(self._nothing.shape[-1], self._nothing.shape[-1], bias=False)
        total.weight.data, variance = self._sum_of_words()
        groups = [{"params": self._words, "peak": TEXT_RATE}, {"params": total.parameters(), "peak": SUM_RATE}]
        empty = self._nothing.mean(1)

        def loss(rng: np.random.Generator) -> torch.Tensor:
            asked = lesson(rng, self._tokenizer, (_caption(rng) for _ in range(TEXT_BATCH)))
            with torch.no_grad():
                full, without = (
                    self._old_text(each.ids).last_hidden_state.mean(1) for each in (asked.full, asked.without)
                )
            target = without + asked.weights[:, None] * (full - without)
            states = self.text(asked.weighted.ids).last_hidden_state
            words = asked.weighted.is_word()[..., None]
            said = total((asked.weighted.weighted(states) * words).sum(1)) + empty
            return mean_square(said - target) / variance + mean_square((states - self._nothing) * ~words)

        self._train("words", TEXT_STEPS, groups, nn.ModuleDict({"text": self.text, "total": total}), loss)

    def learn_layers(self) -> None:
        """The second stage."""
        captions, queries = self._queries()
        old = dict(self._old_unet.named_modules())
        scales: dict[str, float] = {}

        def loss(rng: np.random.Generator) -> torch.Tensor:
            rows = rng.integers(len(captions), size=LAYER_BATCH)
            others = rng.integers(len(captions), size=LAYER_BATCH)
            said = (captions[row if rng.random() < 0.6 else other] for row, other in zip(rows, others, strict=True))
            asked = lesson(rng, self._tokenizer, said)
            with torch.no_grad():
                full, without = self._read(asked.full), self._read(asked.without)
            states = asked.weighted.weighted(self.text(asked.weighted.ids).last_hidden_state)
            nothing, weights, losses = self._nothing.expand_as(full), asked.weights[:, None, None], []
            for name, layer in self._layers.items():
                query = queries[name][torch.from_numpy(rows)].float()
                with torch.no_grad():
                    one, less, none = (old[name](query, each) for each in (full, without, nothing))
                # By how much a layer heeds prompts at all, each counts the same.
                scale = float(mean_square(one - none))
                scales[name] = 0.9 * scales.get(name, scale) + 0.1 * scale
                target = less + weights * (one - less)
                losses.append(mean_square(layer(query, states) - target) / scales[name])
            return torch.stack(losses).mean()

        groups = self._groups(LAYER_RATE, LAYER_TEXT_RATE)
        modules = nn.ModuleDict({"text": self.text, "unet": self.unet})
        self._train("layers", LAYER_STEPS, groups, modules, loss)

    def learn_whole(self) -> None:
        """The third stage; what is left in the models is the average over its last steps."""
        models = nn.ModuleDict({"text": self.text, "unet": self.unet})
        averages = AveragedModel(models, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))  # type: ignore[no-untyped-call]

        def loss(rng: np.random.Generator) -> torch.Tensor:
            averages.update_parameters(models)
            noisy, timesteps, captions = self._noisy(rng)
            asked = lesson(rng, self._tokenizer, captions)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                states = torch.cat([self._read(asked.full), self._read(asked.without)])
                both = self._old_unet(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), states).sample.float()
            with torch.autocast("cpu", torch.bfloat16):
                states = asked.weighted.weighted(self.text(asked.weighted.ids).last_hidden_state.float())
                predicted = self.unet(noisy, timesteps, states).sample.float()
            full, without = both.chunk(2)
            target = without + asked.weights[:, None, None, None] * (full - without)
            return mean_square(predicted - target)

        groups = self._groups(WHOLE_RATE, WHOLE_TEXT_RATE)
        self._train("whole", WHOLE_STEPS, groups, nn.ModuleDict({"models": models, "averages": averages}), loss)
        models.load_state_dict(averages.module.state_dict())

    def _train(self, name: str, steps: int, groups: list[dict[str, Any]], modules: nn.Module, loss: Loss) -> None:
        """Train one stage to its end, from its last checkpoint if there is one."""
        path, log = WORK / f"emphasis_{name}.pt", Log(WORK / "emphasis.jsonl")
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)
        done = 0
        if (state := load(path)) is not None:
            modules.load_state_dict(state["modules"])
            optimizer.load_state_dict(state["optimizer"])
            done = state["step"]
        rng, timer, losses = np.random.default_rng((SEED, done)), Timer(), []
        torch.manual_seed(SEED + done)
        for step in range(done + 1, steps + 1):
            value = loss(rng)
            value.backward()  # type: ignore[no-untyped-call]
            losses.append(float(value.detach()))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step / steps, group["peak"])
            optimizer.step()
            optimizer.zero_grad()
            if step % 50 == 0 or step == steps:
                log.write(stage=name, step=step, seconds=timer.seconds(), loss=float(np.mean(losses)))
                losses = []
                save(path, modules=modules.state_dict(), optimizer=optimizer.state_dict(), step=step)

    def _read(self, prompts: Prompts) -> torch.Tensor:
        """The states that the text encoder had for prompts, (prompts, 77, width)."""
        states: torch.Tensor = self._old_text(prompts.ids).last_hidden_state
        return states

    def _groups(self, rate: float, text_rate: float) -> list[dict[str, Any]]:
        """What learns in the cross-attention and in the text encoder, with the highest rate of each."""
        layers = [parameter for layer in self._layers.values() for parameter in layer.parameters()]
        return [{"params": layers, "peak": rate}, {"params": self._words, "peak": text_rate}]

    def _sum_of_words(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the first stage begins.

        Returns:
            The matrix that makes most of the mean over all states of the sum of the words' states, by least squares,
            and the variance of that mean.
        """
        rng = np.random.default_rng(SEED)
        prompts = read(self._tokenizer, (_caption(rng) for _ in range(TEXT_SAMPLES)))
        with torch.no_grad():
            states = self._read(prompts)
        means = states.mean(1)
        words = (states * prompts.is_word()[..., None]).sum(1)
        ridge = torch.eye(words.shape[1])
        matrix = torch.linalg.solve(words.T @ words + ridge, words.T @ (means - self._nothing.mean(1)))
        return matrix.T.contiguous(), means.var(0).mean()

    def _queries(self) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Captions, and what the cross-attention got from pictures of them: (captions, ``QUERIES``, width) by layer."""
        rng = np.random.default_rng(SEED)
        torch.manual_seed(SEED)
        kept: dict[str, list[torch.Tensor]] = {name: [] for name in self._layers}

        def keep(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
            def hook(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
                places = torch.from_numpy(rng.integers(inputs[0].shape[1], size=(len(inputs[0]), QUERIES)))
                kept[name].append(torch.take_along_dim(inputs[0], places[..., None], 1).half())

            return hook

        old = dict(self._old_unet.named_modules())
        handles = [old[name].register_forward_pre_hook(keep(name)) for name in self._layers]
        captions: list[str] = []
        for _ in range(FORWARDS):
            noisy, timesteps, said = self._noisy(rng)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                self._old_unet(noisy, timesteps, self._read(read(self._tokenizer, said)))
            captions += said
        for handle in handles:
            handle.remove()
        return captions, {name: torch.cat(each) for name, each in kept.items()}

    def _noisy(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Drawn latents with noise, the timesteps of it, and captions, of which some say something else."""
        latents, shown = self._drawn.batch(rng)
        rows = len(latents)
        timesteps = (((torch.arange(rows) + torch.rand(rows)) / rows) ** 0.6 * 1000).long().clamp(max=999)
        noisy = self._noise.add_noise(latents, torch.randn_like(latents), timesteps)
        misled = rng.random(rows) < MISLED
        said = [shown[rng.integers(rows)] if other else own for own, other in zip(shown, misled, strict=True)]
        return noisy, timesteps, [caption(rng, *each) for each in said]

    def write(self) -> None:
        """Put what was learned into the model's files, in half precision as before."""
        for part, module in (("text_encoder/model", self.text), ("unet/diffusion_pytorch_model", self.unet)):
            path = MODEL / f"{part}.safetensors"
            learned = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
            kept = load_file(path)
            halves = {name: value.to(kept[name].dtype) for name, value in learned.items()}
            save_file(kept | halves, path, {"format": "pt"})


def mean_square(values: torch.Tensor) -> torch.Tensor:
    """Of all values."""
    return values.square().mean()


def _caption(rng: np.random.Generator) -> str:
    """Of any thing on any colour."""
    return caption(rng, str(rng.choice(list(THINGS))), str(rng.choice(list(COLOURS))))


@click.command()
def main() -> None:
    """Train the text encoder and the UNet's cross-attention on weights in prompts, and write them into the model."""
    emphasis = Emphasis()
    emphasis.learn_words()
    emphasis.learn_layers()
    emphasis.learn_whole()
    emphasis.write()


if __name__ == "__main__":
    main()
