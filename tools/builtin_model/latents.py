"""The training set as latents: things to put on backgrounds without encoding each picture anew."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from .autoencoder import FACTOR, to_tensor
from .scenes import Scene, thing_icons
from .things import COLOURS, THINGS
from .training import SEED, load, save

SIDES = ((140, 220), (220, 290), (280, 360), (340, 440), (340, 440), (440, 600))
"""Ranges of a thing's side in pixels; one rendering of each thing on each colour falls in each range."""
MARGIN = 3
"""Cells around a thing that are encoded with it; the outer ones are cut off, because a border colours them."""
CUT = 2
NATIVE = 32
"""The side in cells of a picture of the model's own size."""


@dataclass(frozen=True)
class Patch:
    """One thing with a little of its background, as latents of shape (4, cells, cells)."""

    thing: int
    colour: int
    latents: torch.Tensor

    @property
    def cells(self) -> int:
        """Its side."""
        return self.latents.shape[-1]


def encode_patches(icons: Path, folder: Path, autoencoder: AutoencoderTiny) -> None:
    """Write each thing on each colour in several sizes to ``folder``, at random places between pixels."""
    path = folder / "latents.pt"
    if path.exists():
        return
    rng = np.random.default_rng(SEED)
    patches = []
    for thing, icon in enumerate(thing_icons(icons).values()):
        for colour, background in enumerate(COLOURS.values()):
            for low, high in SIDES:
                side = int(rng.integers(low, high))
                pixels = (-(-side // FACTOR) + 2 * MARGIN) * FACTOR
                left, top = MARGIN * FACTOR + rng.uniform(0, FACTOR, size=2) - FACTOR / 2
                picture = Scene(icon, background, side, left, top, pixels, pixels).draw()
                latents = encode(autoencoder, to_tensor(picture)[None])[0]
                patches.append((thing, colour, latents[:, CUT:-CUT, CUT:-CUT].half().clone()))
    save(path, patches=patches)


@torch.no_grad()
def encode(autoencoder: AutoencoderTiny, pictures: torch.Tensor) -> torch.Tensor:
    """(n, 4, height / 16, width / 16) latents of (n, 3, height, width) pictures in -1 to 1."""
    with torch.autocast("cpu", torch.bfloat16):
        latents: torch.Tensor = autoencoder.encode(pictures.to(memory_format=torch.channels_last)).latents
    return latents.float()


class Canvases:
    """Draws training batches: backgrounds of any size with a thing pasted on each."""

    def __init__(self, folder: Path, autoencoder: AutoencoderTiny) -> None:
        stored = load(folder / "latents.pt")
        assert stored is not None
        self._autoencoder = autoencoder
        self._patches = [Patch(*values) for values in stored["patches"]]
        self._fitting: dict[tuple[int, float, float], list[Patch]] = {}
        self._backgrounds: dict[tuple[int, int], torch.Tensor] = {}

    def batch(
        self,
        rng: np.random.Generator,
        count: int,
        height: int,
        width: int,
        share: tuple[float, float],
    ) -> tuple[torch.Tensor, list[tuple[str | None, str]]]:
        """Latents of shape (count, 4, height, width) and what each shows, as (thing, colour).

        Args:
            rng: where the randomness comes from.
            count: how many.
            height: in cells of 16 pixels.
            width: in cells.
            share: the least and the greatest size of a thing, as parts of the shorter side, or of the native one's.
        """
        backgrounds, fitting = self._background_latents(height, width), self._patches_for(min(height, width), *share)
        latents = torch.empty(count, 4, height, width)
        shown: list[tuple[str | None, str]] = []
        names, colours = list(THINGS), list(COLOURS)
        for index in range(count):
            patch = fitting[rng.integers(len(fitting))]
            latents[index] = backgrounds[patch.colour]
            if rng.random() < 0.02:
                shown.append((None, colours[patch.colour]))
                continue
            # The sum of two makes the middle likelier than the borders.
            top, left = (round((room - patch.cells) * (rng.random() + rng.random()) / 2) for room in (height, width))
            latents[index, :, top : top + patch.cells, left : left + patch.cells] = patch.latents
            shown.append((names[patch.thing], colours[patch.colour]))
        return latents, shown

    def _patches_for(self, shorter: int, low: float, high: float) -> list[Patch]:
        """Those of a size between two parts of a canvas's shorter side; on larger ones as large as on the native."""
        shorter = min(shorter, NATIVE)
        key = (shorter, low, high)
        if key not in self._fitting:
            least, most = low * shorter + 2, min(high * shorter + 2, shorter)
            self._fitting[key] = [patch for patch in self._patches if least <= patch.cells <= most]
        return self._fitting[key]

    def _background_latents(self, height: int, width: int) -> torch.Tensor:
        """Latents of plain pictures, one a colour, of shape (12, 4, height, width)."""
        if (height, width) not in self._backgrounds:
            colours = torch.tensor(list(COLOURS.values())).float() / 127.5 - 1
            pictures = colours[:, :, None, None].expand(-1, -1, height * FACTOR, width * FACTOR)
            self._backgrounds[height, width] = encode(self._autoencoder, pictures)
        return self._backgrounds[height, width]
