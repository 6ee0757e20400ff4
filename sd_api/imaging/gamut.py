"""Colours that a document's profile has beyond sRGB, in which no model sees or draws.

The model is shown the nearest colours of sRGB instead. What it draws in these is given back what is lost of them in the
document, so that no drawing is paler than the saturated colours around it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy import ndimage

from sd_api.imaging.blending import in_rows
from sd_api.imaging.profiles import from_srgb, to_srgb

# Levels of each channel between which what is lost is interpolated, and how far a colour says something of others.
_NODES = 17
_SIGMA = 1.0  # nodes

# The share of the document's pixels that says as much of a colour as is held against it, by those that lose nothing.
_DOUBT = 1e-4

# Levels of 255 that are lost by rounding.
_ROUNDED = 2.0


def into_document(drawn: Image.Image, document: Callable[[], Image.Image], profile: bytes | None) -> Image.Image:
    """Convert what a model has drawn from sRGB into a document's profile, in colours as saturated as the document's.

    Args:
        drawn: Mode RGB, in sRGB.
        document: Returns some of the document's pixels, mode RGB, in its own colours; of any size.
        profile: Its ICC profile; None where it has none.

    Returns:
        The same image where there is nothing to convert, see ``to_srgb``.
    """
    converted = from_srgb(drawn, profile)
    if converted is drawn:
        return drawn
    sample = document()
    lost = _lost(sample, from_srgb(to_srgb(sample, profile), profile))
    if np.abs(lost).max() <= _ROUNDED:
        return converted
    levels = np.linspace(0, 1, _NODES, dtype=np.float32)
    # Red changes fastest in such a table.
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")
    table = np.stack([red, green, blue], axis=-1) + lost / 255
    richer = ImageFilter.Color3DLUT(_NODES, table.clip(0, 1).ravel().tolist())
    # In place, without a further copy of a large image.
    for rows in in_rows((0, 0, *converted.size)):
        converted.paste(converted.crop(rows).filter(richer), rows)
    return converted


def _lost(document: Image.Image, seen: Image.Image) -> npt.NDArray[np.float32]:
    """What colours lose on their way through sRGB, by what is left: (blue, green, red, 3) at the nodes, in levels."""
    after = np.asarray(seen, np.float32).reshape(-1, 3)
    before = np.asarray(document, np.float32).reshape(-1, 3)
    places = np.rint(after * ((_NODES - 1) / 255)).astype(np.intp) @ (1, _NODES, _NODES**2)

    def at_nodes(weights: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
        sums = np.bincount(places, weights, _NODES**3).reshape((_NODES,) * 3)
        blurred: npt.NDArray[np.float64] = ndimage.gaussian_filter(sums.astype(np.float64), _SIGMA, mode="constant")
        return blurred

    counts = at_nodes(None) + _DOUBT * len(places)
    return np.stack([at_nodes(band) / counts for band in (before - after).T], axis=-1).astype(np.float32)
