"""Samples of any depth, as numpy arrays, to 8 bits and to images."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd_api.imaging.colour import to_rgb, unit_floats

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def scale_integers(values: Array, full: int) -> Bytes:
    """Scale unsigned integers of up to 32 bits from 0..``full`` to 0..255, rounded."""
    if values.dtype == np.uint8 and full == 255:
        return values
    if full > 0xFFFF:  # 32 bits would overflow below
        values, full = values >> 16, full >> 16
    return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)


def scale_floats(values: Array) -> Bytes:
    """Scale floats to 0..255, from either scale that ``unit_floats`` knows."""
    return np.rint(unit_floats(values) * 255).astype(np.uint8)


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
