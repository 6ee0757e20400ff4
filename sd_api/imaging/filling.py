"""What the masked part of an image begins with, besides what was there."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

Fill = Literal["original", "blur", "neutral", "noise", "border"]

# Blurred content has no detail, so it is made small: pixels of its longer side.
_SMALL = 256
_SIGMA = 12.0  # of that size


def filled(image: Image.Image, mask: Image.Image, how: str, seed: int) -> Image.Image:
    """Replace the masked part of an image.

    Args:
        image: Mode RGB.
        mask: Mode L of the same size; values between blend.
        how: A ``Fill``.
        seed: Of ``noise``.
    """
    if how == "original":
        return image
    return Image.composite(_FILLS[how](image, mask, seed), image, mask)


def _blur(image: Image.Image, mask: Image.Image, seed: int) -> Image.Image:  # noqa: ARG001 - all have the same arguments
    return _small(image).filter(ImageFilter.GaussianBlur(_SIGMA)).resize(image.size, Image.Resampling.BICUBIC)


def _neutral(image: Image.Image, mask: Image.Image, seed: int) -> Image.Image:  # noqa: ARG001 - see above
    return Image.new("RGB", image.size, (128, 128, 128))


def _noise(image: Image.Image, mask: Image.Image, seed: int) -> Image.Image:  # noqa: ARG001 - see above
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (image.height, image.width, 3), np.uint8))


def _border(image: Image.Image, mask: Image.Image, seed: int) -> Image.Image:
    """The colours of the nearest kept pixels, smooth inside."""
    small, masked = _small(image), np.asarray(_small(mask)) > 0
    if masked.all():
        return _neutral(image, mask, seed)
    nearest = ndimage.distance_transform_edt(masked, return_distances=False, return_indices=True)
    spread = np.asarray(small)[tuple(nearest)]
    smooth = ndimage.gaussian_filter(spread.astype(np.float32), (_SIGMA / 2, _SIGMA / 2, 0), mode="nearest")
    return Image.fromarray(np.rint(smooth).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)


def _small(image: Image.Image) -> Image.Image:
    scale = min(1.0, _SMALL / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


_FILLS: dict[str, Callable[[Image.Image, Image.Image, int], Image.Image]] = {
    "blur": _blur,
    "neutral": _neutral,
    "noise": _noise,
    "border": _border,
}
