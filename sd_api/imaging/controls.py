"""What is made of a picture so that a ControlNet or a T2I adapter can follow it: edges, lines, strokes.

OpenCV is imported when it is first needed, because most requests have no control.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) RGB, or (height, width) where a map has one channel."""

# The thresholds that most programs have as their defaults, of the gradient of 8-bit values.
CANNY_LOW, CANNY_HIGH = 100, 200


def _as_it_is(pixels: Pixels) -> Pixels:
    return pixels


def _inverted(pixels: Pixels) -> Pixels:
    return 255 - pixels


def _canny(pixels: Pixels) -> Pixels:
    """Edges of one pixel, white on black (Canny 1986)."""
    return np.asarray(_cv2().Canny(pixels, CANNY_LOW, CANNY_HIGH), np.uint8)


def _soft_edges(pixels: Pixels) -> Pixels:
    """The magnitude of the gradient, as bright as the strongest edge allows."""
    cv2 = _cv2()
    blurred = cv2.GaussianBlur(pixels, (0, 0), 1.5).astype(np.float32)
    across, down = (cv2.Sobel(blurred, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    strength = np.hypot(across, down).max(axis=2)
    # A picture without edges has none, rather than its noise enlarged.
    return _levels(strength * (255 / max(64.0, float(strength.max()))))


def _scribble(pixels: Pixels) -> Pixels:
    """Strokes where a picture is darker than around, white on black (difference of Gaussians)."""
    cv2 = _cv2()
    fine, coarse = (cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma) for sigma in (0.5, 5.0))
    return np.where((coarse - fine).max(axis=2) > 16, np.uint8(255), np.uint8(0))


def _line_art(pixels: Pixels) -> Pixels:
    """Dark lines on a light ground, bright on black."""
    cv2 = _cv2()
    floats = pixels.astype(np.float32)
    darker = (cv2.GaussianBlur(floats, (0, 0), 6.0) - floats).min(axis=2).clip(0, 255)
    lines = darker[darker > 8]
    return _levels(darker * (127 / max(16.0, float(np.median(lines)) if lines.size else 16.0)))


def _levels(values: Any) -> Pixels:
    levels: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return levels


def _cv2() -> Any:
    import cv2

    return cv2


@dataclass(frozen=True)
class Preprocessor:
    """One way to make a map of a picture.

    Attributes:
        label: What a form calls it.
        run: From a picture's pixels to those of the map, of the same size.
        kind: What a union model calls such maps, see ``KINDS``; None where the picture may show anything.
    """

    label: str
    run: Callable[[Pixels], Pixels]
    kind: str | None


PREPROCESSORS: Mapping[str, Preprocessor] = {
    "none": Preprocessor("None: the image is the map", _as_it_is, None),
    "canny": Preprocessor("Canny edges", _canny, "canny"),
    "softedge": Preprocessor("Soft edges", _soft_edges, "softedge"),
    "scribble": Preprocessor("Scribble", _scribble, "softedge"),
    "lineart": Preprocessor("Line art", _line_art, "canny"),
    "tile": Preprocessor("Tile: the image as it is", _as_it_is, "tile"),
    "inpaint": Preprocessor("Inpaint: the image without what the mask replaces", _as_it_is, "inpaint"),
    "invert": Preprocessor("Inverted colours", _inverted, None),
}
"""Every preprocessor by its name."""

WITH_WEIGHTS = frozenset(
    {"depth", "openpose", "dw", "densepose", "normal", "seg", "mlsd", "hed", "pidinet", "pidisafe", "teed", "lama"}
    | {"anime", "coarse", "realistic", "mediapipe", "ip-adapter", "instant", "revision"}
)
"""What the names of other programs' preprocessors consist of that are networks, which are not part of this server."""

KINDS = (
    *("openpose", "depth", "softedge", "canny", "normal", "seg", "tile", "inpaint"),
    *("blur", "gray", "low_quality"),
)
"""What union models were trained with: first those for SDXL in the order of their numbers, of which those with six know
no tile and inpaint; the last three are known to those for FLUX.1 alone."""


def map_of(image: Image.Image, preprocessor: str) -> Image.Image:
    """What a preprocessor makes of a picture.

    Args:
        image: Mode RGB.
        preprocessor: A name in ``PREPROCESSORS``.

    Returns:
        An image of mode RGB and of the same size.
    """
    made = PREPROCESSORS[preprocessor].run(np.asarray(image))
    return Image.fromarray(made).convert("RGB")
