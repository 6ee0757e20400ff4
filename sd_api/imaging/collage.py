"""A large picture with parts of it replaced, put together some rows at a time, so that there is no copy of it."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from sd_api.imaging.blending import lay_over
from sd_api.imaging.samples import Array
from sd_api.imaging.sizing import extended_part, size_of_canvas

Box = tuple[int, int, int, int]
Piece = Callable[[Box], tuple[Image.Image, Image.Image]]
"""Makes what a box of the collage shows of a piece: mode RGB, and its mask, mode L."""


class Collage:
    """A canvas with pieces over it.

    Args:
        canvas: An image of mode RGB or RGBA, or samples (height, width, 3 or 4) of uint8 or uint16 with straight alpha;
            it is not changed.
        margins: Pixels on the left, top, right and bottom by which it grows; they repeat its edge.

    Attributes:
        size: Width and height in pixels, margins included.
        channels: 3 or 4.
        depth: The bits of a sample, 8 or 16.
    """

    def __init__(self, canvas: Image.Image | Array, margins: Box = (0, 0, 0, 0)) -> None:
        self._canvas = canvas
        self._margins = margins
        self._pieces: list[tuple[Box, Piece]] = []
        self.size = size_of_canvas(canvas, margins)
        if isinstance(canvas, Image.Image):
            self.channels, self.depth = len(canvas.mode), 8
        else:
            self.channels, self.depth = canvas.shape[-1], 8 * canvas.itemsize

    def lay(self, box: Box, piece: Piece) -> None:
        """Lay a piece over a box of the collage."""
        self._pieces.append((box, piece))

    def rows(self, start: int, end: int) -> Array:
        """The rows from ``start`` to before ``end``: (rows, width, channels), not to be changed."""
        part: Image.Image | Array = extended_part(self._canvas, self._margins, (0, start, self.size[0], end))
        for (left, upper, right, lower), piece in self._pieces:
            upper, lower = max(upper, start), min(lower, end)
            if upper >= lower:
                continue
            image, mask = piece((left, upper, right, lower))
            if isinstance(part, Image.Image) and part.mode == "RGB":
                part = part.copy()
                part.paste(image, (left, upper - start), mask)
            else:
                part = np.array(part)
                lay_over(part[upper - start : lower - start, left:right], image, mask)
        return np.asarray(part)
