"""Pictures of a thing on a plain background, as the model is to draw them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from .icons import bodies, render
from .things import COLOURS, THINGS


@dataclass(frozen=True)
class Scene:
    """One thing on one background; lengths and places are in pixels of a ``width`` x ``height`` picture."""

    icon: Image.Image
    background: tuple[int, int, int]
    side: int
    left: float
    top: float
    width: int
    height: int

    def draw(self) -> Image.Image:
        """The RGB picture. Places between pixels are kept, so edges fall anywhere."""
        scale = self.icon.width / self.side
        small = self.icon.resize((self.side, self.side), Image.Resampling.LANCZOS) if scale > 1 else self.icon
        rest = small.width / self.side
        placed = small.transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            (rest, 0, -self.left * rest, 0, rest, -self.top * rest),
            Image.Resampling.BILINEAR,
        )
        picture = Image.new("RGB", (self.width, self.height), self.background)
        picture.paste(placed, mask=placed)
        return picture


@cache
def thing_icons(icons: Path) -> dict[str, Image.Image]:
    """Each thing's rendered icon, by the thing's name."""
    return {thing: render(bodies(icons)[name]) for thing, name in THINGS.items()}


def random_other_icon(rng: np.random.Generator, icons: Path, pixels: int) -> Image.Image:
    """An icon that is none of the things, rendered ``pixels`` wide."""
    names = _other_names(icons)
    return render(bodies(icons)[names[rng.integers(len(names))]], pixels)


@cache
def _other_names(icons: Path) -> list[str]:
    return sorted(name for name in bodies(icons) if name not in THINGS.values())


def random_scene(
    rng: np.random.Generator, icon: Image.Image, width: int = 512, height: int = 512, colour: str | None = None
) -> Scene:
    """An icon somewhere on a random background, 55 to 85 % of the shorter side wide and wholly inside.

    Args:
        rng: where the randomness comes from.
        icon: a square RGBA picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        colour: the background's name; None for a random one.
    """
    names = list(COLOURS)
    background = COLOURS[colour or names[rng.integers(len(names))]]
    side = round(min(width, height) * rng.uniform(0.55, 0.85))
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return Scene(icon, background, side, left, top, width, height)
