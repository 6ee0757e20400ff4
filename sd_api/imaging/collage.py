"""A large picture with parts of it replaced, put together some rows at a time, so that there is no copy of it."""

import numpy as np
from PIL import Image

from sd_api.imaging.blending import lay_over
from sd_api.imaging.samples import Array
from sd_api.imaging.sizing import extended_part, part_of, size_of_canvas

Box = tuple[int, int, int, int]
Piece = tuple[Box, Image.Image, Image.Image]
"""Where a piece lies in the collage, what is drawn there (mode RGB), and its mask (mode L), both of the box's size."""


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
        self._pieces: list[Piece] = []
        self.size = size_of_canvas(canvas, margins)
        if isinstance(canvas, Image.Image):
            self.channels, self.depth = len(canvas.mode), 8
        else:
            self.channels, self.depth = canvas.shape[-1], 8 * canvas.itemsize

    def lay(self, piece: Piece) -> None:
        """Lay a piece over the collage."""
        self._pieces.append(piece)

    def rows(self, start: int, end: int) -> Array:
        """The rows from ``start`` to before ``end``: (rows, width, channels), not to be changed."""
        part: Image.Image | Array = extended_part(self._canvas, self._margins, (0, start, self.size[0], end))
        own = False  # whether the part is a copy, which may be changed
        for (left, top, right, bottom), image, mask in self._pieces:
            upper, lower = max(top, start), min(bottom, end)
            if upper >= lower:
                continue
            shown = (0, upper - top, right - left, lower - top)
            image, mask = part_of(image, shown), part_of(mask, shown)
            if isinstance(part, Image.Image) and part.mode == "RGB":
                part = part if own else part.copy()
                part.paste(image, (left, upper - start), mask)
            else:
                part = part if own and not isinstance(part, Image.Image) else np.array(part)
                lay_over(part[upper - start : lower - start, left:right], image, mask)
            own = True
        return np.asarray(part)
