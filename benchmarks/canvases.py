"""Large canvases for the benchmark of edits, their masks, and how well an edit meets what is around it."""

import numpy as np
from PIL import Image

CONTENTS = ("plain", "gradient", "photo")

# Pixels along the border that are averaged, so that the grain of a photograph is no step; and how far inside.
WINDOW, BAND = 16, 2


def canvas(size: tuple[int, int], content: str, seed: int = 20) -> Image.Image:
    """A picture of a size; ``content`` is one of ``CONTENTS``, and a photograph has soft shapes and grain."""
    if content == "plain":
        return Image.new("RGB", size, (112, 140, 168))
    rng = np.random.default_rng(seed)
    patches = 2 if content == "gradient" else 12
    colours = Image.fromarray(rng.integers(48, 208, (patches, patches, 3), dtype=np.uint8))
    smooth = colours.resize(size, Image.Resampling.BICUBIC)
    if content == "gradient":
        return smooth
    grain = np.tile(rng.integers(-4, 5, (512, 512, 1), dtype=np.int8), (-(-size[1] // 512), -(-size[0] // 512), 1))
    pixels = np.asarray(smooth).astype(np.int16) + grain[: size[1], : size[0]]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def square_mask(size: tuple[int, int], share: float) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A mask with a square hole of a share of the canvas, a little beside its middle; and the hole's box."""
    side = min(round((share * size[0] * size[1]) ** 0.5), *size)
    left, upper = int((size[0] - side) * 0.45), int((size[1] - side) * 0.55)
    box = (left, upper, left + side, upper + side)
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask, box


def border_step(before: Image.Image, after: Image.Image, box: tuple[int, int, int, int]) -> float:
    """The largest difference of colour along the inside of a box's border, in CIE76 ΔE."""
    left, upper, right, lower = box
    bands = [
        (left, upper, right, upper + BAND),
        (left, lower - BAND, right, lower),
        (left, upper, left + BAND, lower),
        (right - BAND, upper, right, lower),
    ]
    steps = [_means(after, band) - _means(before, band) for band in bands]
    return max(float(np.sqrt((step**2).sum(axis=1)).max()) for step in steps)


def _means(image: Image.Image, band: tuple[int, int, int, int]) -> np.ndarray:
    """(windows, 3): the mean colour of each window of a band, in CIE Lab."""
    pixels = np.asarray(image.crop(band)).astype(np.float64)
    across = 0 if band[2] - band[0] > band[3] - band[1] else 1
    line = pixels.mean(axis=across)
    count = max(1, len(line) // WINDOW)
    means = np.stack([part.mean(axis=0) for part in np.array_split(line, count)])
    return _lab(means)


def _lab(colours: np.ndarray) -> np.ndarray:
    """(n, 3) sRGB from 0 to 255 to CIE Lab (D65)."""
    linear = np.where(colours > 10.31475, ((colours / 255 + 0.055) / 1.055) ** 2.4, colours / 255 / 12.92)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    cubic = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * cubic[:, 1] - 16, 500 * (cubic[:, 0] - cubic[:, 1]), 200 * (cubic[:, 1] - cubic[:, 2])], axis=1
    )
