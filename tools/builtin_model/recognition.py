"""Small pictures for the two networks that recognize things: the evaluation's classifier and the safety checker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from .judge import PIXELS
from .scenes import random_other_icon, random_scene, thing_icons
from .training import SEED, Log, Timer, learning_rate

BATCH = 64


class SmallScenes:
    """Scenes scaled to 64 x 64 pixels.

    Attributes:
        things: names, in the order of their labels; what is none of them has the label after the last.
    """

    def __init__(self, icons: Path, count: int, others: float = 0.0, favoured: str | None = None) -> None:
        """Draw them.

        Args:
            icons: what ``icons.fetch_icons`` wrote.
            count: how many; they are drawn once, and changed a little each time that they are used.
            others: the share of pictures that show an icon which is none of the things.
            favoured: the thing that one in eight of the pictures shows.
        """
        rng = np.random.default_rng(SEED)
        drawn = {thing: icon.resize((192, 192)) for thing, icon in thing_icons(icons).items()}
        self.things = list(drawn)
        pictures, labels = [], []
        for index in range(count):
            label = index % len(self.things)
            if favoured is not None and index % 8 == 0:
                label = self.things.index(favoured)
            elif rng.random() < others:
                label = len(self.things)
            if label < len(self.things):
                icon = drawn[self.things[label]]
            else:
                icon = random_other_icon(rng, icons, 192)
            picture = _no_thing(rng) if label == len(self.things) and rng.random() < 0.2 else _small(rng, icon)
            pictures.append(np.asarray(picture))
            labels.append(label)
        self._pictures = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        self._labels = torch.tensor(labels)

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For ever: pictures of shape (BATCH, 3, 64, 64) in 0 to 1, and their labels of shape (BATCH,)."""
        generator = torch.Generator().manual_seed(SEED)
        while True:
            indices = torch.randint(len(self._labels), (BATCH,), generator=generator)
            pictures = self._pictures[indices].float() / 255
            shape = (BATCH, 1, 1, 1)
            contrast = 1 + 0.2 * (torch.rand(shape, generator=generator) - 0.5)
            brightness = 0.1 * (torch.rand(shape, generator=generator) - 0.5)
            noise = 0.08 * torch.rand(shape, generator=generator) * torch.randn(pictures.shape, generator=generator)
            yield (pictures * contrast + brightness + noise).clamp(0, 1), self._labels[indices]


def _small(rng: np.random.Generator, icon: Image.Image) -> Image.Image:
    """A scene of random proportions, more or less sharp, squeezed into a square."""
    width, height = (160, int(rng.integers(120, 220))) if rng.random() < 0.3 else (160, 160)
    picture = random_scene(rng, icon, width, height).draw()
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
    return picture.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)


def _no_thing(rng: np.random.Generator) -> Image.Image:
    """Clouds of colour: from one plain colour to noise in every pixel."""
    side = int(rng.choice([1, 2, 3, 5, 9, 17, PIXELS]))
    colours = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)


def train(
    model: nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scenes: SmallScenes,
    steps: int,
    log: Log,
) -> None:
    """Train a network on the scenes.

    Args:
        model: whose parameters are trained.
        loss_of: the loss for a batch of pictures and labels.
        scenes: the training set.
        steps: how many batches.
        log: gets a line every 200 steps.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
    timer, losses = Timer(), []
    model.train()
    for step, batch in zip(range(1, steps + 1), scenes.batches(), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step / steps, 1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(*batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 200 == 0:
            log.write(step=step, seconds=timer.seconds(), loss=float(np.mean(losses)))
            losses = []
    model.eval()
