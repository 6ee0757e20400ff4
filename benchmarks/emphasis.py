"""What weights, alternations and schedules in prompts move in the built-in model's pictures, over many seeds.

A colour is measured in the border of the pictures, where the background is. All texts are drawn with the same seeds, so
differences are of pairs. Pictures do not depend on how busy the machine is. The last line is JSON; the exit code is 1
where a part of it does not pass.

    PYTHONPATH=. python benchmarks/emphasis.py
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from sd_api.engine.diffusion import step
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Limits

ROWS = 10
"""Pictures that go through the model at once."""
STEPS, SIDE, GUIDANCE = 8, 256, 5.0
LITTLE_GUIDANCE = 2.5
"""For alternation and schedules: with more, the built-in model decides in its first step."""

Measure = Callable[[Image.Image], float]


class Painter:
    """Draws a text with each seed, in as few steps and pixels as the built-in model needs to show something.

    Args:
        seeds: How many seeds, from 0.
    """

    def __init__(self, seeds: int) -> None:
        pipeline: Any = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL, dtype=torch.float32)
        pipeline.register_modules(safety_checker=None)
        self._parts = Parts(pipeline, torch.device("cpu"), lambda _: None)
        self._family = family_of(pipeline)
        self._seeds = range(seeds)
        self._drawn: dict[tuple[str, float], list[Image.Image]] = {}

    def draw(self, prompt: str, guidance: float) -> list[Image.Image]:
        """The pictures of one text, in the order of their seeds; drawn once."""
        if (prompt, guidance) not in self._drawn:
            self._drawn[prompt, guidance] = self._draw(prompt, guidance)
        return self._drawn[prompt, guidance]

    @torch.inference_mode()
    def _draw(self, prompt: str, guidance: float) -> list[Image.Image]:
        operation = TextToImage(
            prompt=prompt,
            steps=STEPS,
            guidance=guidance,
            scheduler="ddim",
            width=SIDE,
            height=SIDE,
            limits=Limits(),
        )
        conditioning = self._family.encode(self._parts, operation)
        pictures: list[Image.Image] = []
        for first in range(0, len(self._seeds), ROWS):
            rows = [
                self._family.start(self._parts, operation, PictureSeeds(seed=seed), (SIDE, SIDE), conditioning)
                for seed in self._seeds[first : first + ROWS]
            ]
            while not rows[0].done:
                for error in step(self._family, self._parts, rows).values():
                    raise error
            pictures += self._family.decode(self._parts, rows, [])
        return pictures


def border(picture: Image.Image) -> Any:
    """The mean red, green and blue (0 to 255) of a border as wide as a twelfth of the picture."""
    pixels = np.asarray(picture.convert("RGB")).astype(float)
    width = pixels.shape[0] // 12
    inside = np.zeros(pixels.shape[:2], bool)
    inside[width:-width, width:-width] = True
    return pixels[~inside].mean(0)


def redness(picture: Image.Image) -> float:
    """R - (G + B) / 2 of the border."""
    red, green, blue = border(picture)
    return float(red - (green + blue) / 2)


def blueness(picture: Image.Image) -> float:
    """B - (R + G) / 2 of the border."""
    red, green, blue = border(picture)
    return float(blue - (red + green) / 2)


def compared(more: Sequence[float], less: Sequence[float]) -> dict[str, float]:
    """The mean of the paired differences, and its standard error."""
    differences = [one - other for one, other in zip(more, less, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return {"difference": round(statistics.mean(differences), 2), "error": round(error, 2)}


def weighted(painter: Painter, text: str, measure: Measure, weights: Sequence[float]) -> dict[str, Any]:
    """How a measure follows the weight in ``text``: it passes where each weight has more of it than the one before.

    A difference counts from twice its standard error.
    """
    values = [[measure(picture) for picture in painter.draw(text.format(weight), GUIDANCE)] for weight in weights]
    steps = [compared(more, less) for less, more in pairwise(values)]
    return {
        "weights": list(weights),
        "means": [round(statistics.mean(each), 1) for each in values],
        "differences": steps,
        "passes": all(each["difference"] > 2 * each["error"] for each in steps),
    }


def mixed_colours(painter: Painter, mixed: str) -> dict[str, Any]:
    """Whether a text of red and blue gives more blue than red alone, and more red than blue alone."""
    red, blue, both = (
        painter.draw(f"a dog on a {word} background", LITTLE_GUIDANCE) for word in ("red", "blue", mixed)
    )
    bluer = compared([blueness(picture) for picture in both], [blueness(picture) for picture in red])
    redder = compared([redness(picture) for picture in both], [redness(picture) for picture in blue])
    passes = all(each["difference"] > 2 * each["error"] for each in (bluer, redder))
    return {"bluer_than_red": bluer, "redder_than_blue": redder, "passes": passes}


MEASURES: dict[str, Callable[[Painter], dict[str, Any]]] = {
    "red": lambda painter: weighted(painter, "a dog on a (red:{}) background", redness, (0.6, 1.0, 1.4)),
    "blue": lambda painter: weighted(painter, "a dog on a (blue:{}) background", blueness, (0.6, 1.0, 1.4)),
    "alternation": lambda painter: mixed_colours(painter, "[red|blue]"),
    "schedule": lambda painter: mixed_colours(painter, "[red:blue:1]"),
}


def main() -> int:
    """Measure, print, and say whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--only", choices=MEASURES, nargs="+", default=list(MEASURES))
    options = parser.parse_args()
    painter = Painter(options.seeds)
    figures: dict[str, dict[str, Any]] = {}
    for name in options.only:
        figures[name] = MEASURES[name](painter)
        print(name, figures[name], flush=True)
    print(json.dumps(figures))
    return 0 if all(each["passes"] for each in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
