"""Samples of any depth, as numpy arrays, to 8 or 16 bits and to images."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd_api.imaging.blocks import in_blocks
from sd_api.imaging.colour import scaled_floats, to_rgb

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


EIGHT_BITS, SIXTEEN_BITS = 0xFF, 0xFFFF
"""The white of each depth."""


def scale_integers(values: Array, full: int, white: int = EIGHT_BITS) -> Array:
    """Scale unsigned integers of up to 32 bits from 0..``full`` to 0..``white``, rounded."""
    if full == white and values.dtype.itemsize == _kind(white).itemsize:
        return values.astype(_kind(white), copy=False)
    if full > 0xFFFF:  # 32 bits would overflow below
        values, full = values >> 16, full >> 16
    wide = np.uint32 if white == EIGHT_BITS else np.uint64
    return in_blocks(values, _kind(white), lambda part: (part.astype(wide) * white + full // 2) // full)


def scale_floats(values: Array, white: int = EIGHT_BITS) -> Array:
    """Scale floats to 0..``white``, from either scale that ``scaled_floats`` knows."""
    return scaled_floats(values, white, _kind(white))


def _kind(white: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if white == EIGHT_BITS else np.uint16)


def samples_of(colours: Array, alpha: Array | None = None) -> Array:
    """Samples (height, width, 3 or 4) of planes (height, width, 1 or 3); an alpha that is opaque is left out."""
    if colours.shape[-1] == 1:
        colours = colours.repeat(3, axis=-1)
    if alpha is None or alpha.min() == np.iinfo(alpha.dtype).max:
        return np.ascontiguousarray(colours)
    return np.dstack([colours, alpha])


def image_of(mode: str, colours: Bytes, alpha: Bytes | None = None, profile: bytes = b"") -> Image.Image:
    """Make an image of its planes.

    Args:
        mode: ``L``, ``RGB``, ``CMYK`` or ``LAB``; in the last, neutral a and b are 128.
        colours: height x width x as many planes as the mode has; CMYK is ink, 255 = all of it.
        alpha: height x width, 255 = opaque; None where all is.
        profile: the ICC profile of the colours, empty if there is none.

    Returns:
        The image, with an alpha band if there is ``alpha``; CMYK and LAB, which Pillow has no alpha for, become RGB.
    """
    image = Image.merge(mode, [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(colours, -1, 0)])
    if profile:
        image.info["icc_profile"] = profile
    if alpha is None:
        return image
    if mode in {"CMYK", "LAB"}:
        image = to_rgb(image)
    image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image
