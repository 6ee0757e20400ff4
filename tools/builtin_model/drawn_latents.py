"""Latents of pictures that the built-in model drew, for trainings in which it learns from itself."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .captions import caption
from .things import COLOURS, THINGS
from .training import SEED, load, save

CANVASES = {(16, 16): (256, 16), (24, 24): (320, 8), (32, 32): (160, 5), (40, 24): (80, 5), (24, 40): (80, 5)}
"""How many pictures of each (height, width) in cells there are, and the rows of a batch of them."""
CHOSEN = (0.25, 0.35, 0.2, 0.1, 0.1)
"""How often a batch is of each canvas."""
PIXELS = 16
"""The side of a cell."""

Shown = tuple[str, str]
"""A thing and the colour behind it."""


class DrawnLatents:
    """Pictures of all canvases, drawn once and kept in a file.

    Args:
        pipeline: The model, with the scheduler that draws.
        path: The file.
    """

    def __init__(self, pipeline: Any, path: Path) -> None:
        state = load(path) or {}
        self._shown: dict[tuple[int, int], list[Shown]] = {}
        self._latents: dict[tuple[int, int], torch.Tensor] = {}
        things, colours = list(THINGS), list(COLOURS)
        for canvas, (count, rows) in CANVASES.items():
            rng = np.random.default_rng((SEED, *canvas))
            pairs = rng.integers((len(things), len(colours)), size=(count, 2))
            shown = [(things[thing], colours[colour]) for thing, colour in pairs]
            name = "x".join(map(str, canvas))
            if name not in state:
                batches = (shown[begin : begin + rows] for begin in range(0, count, rows))
                state[name] = torch.cat([_draw(pipeline, rng, batch, canvas) for batch in batches])
                save(path, **state)
                print(f"{count} pictures of {name} cells", flush=True)
            self._shown[canvas], self._latents[canvas] = shown, state[name].float()

    def batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, list[Shown]]:
        """Some pictures of one canvas: latents (rows, 4, height, width), and what each shows."""
        canvas = list(CANVASES)[rng.choice(len(CANVASES), p=CHOSEN)]
        chosen = rng.integers(len(self._shown[canvas]), size=CANVASES[canvas][1])
        return self._latents[canvas][torch.from_numpy(chosen)], [self._shown[canvas][index] for index in chosen]


@torch.no_grad()
def _draw(pipeline: Any, rng: np.random.Generator, shown: list[Shown], canvas: tuple[int, int]) -> torch.Tensor:
    height, width = canvas
    with torch.autocast("cpu", torch.bfloat16):
        latents: torch.Tensor = pipeline(
            [caption(rng, *each) for each in shown],
            height=PIXELS * height,
            width=PIXELS * width,
            num_inference_steps=10,
            guidance_scale=5.0,
            generator=torch.Generator().manual_seed(int(rng.integers(2**32))),
            output_type="latent",
        ).images
    return latents.half()
