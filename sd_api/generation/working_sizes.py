"""The few sizes at which a model works, and the tiles that cover a larger one."""

import math
from collections.abc import Iterator

from PIL import Image

from sd_api.generation.plan import Box, Size, area

# Side lengths that a model still draws well, by its native one; beyond the last one it repeats itself.
SCALES = (1.0, 1.25, 1.5)
ASPECTS = (1.0, 4 / 3, 3 / 2, 2.0)
# Sides of working sizes are multiples of this, or of the model's own multiple, so that there are few.
GRID = 64

# The share of a tile that the next one repeats, at least.
OVERLAP = 0.25


def working_sizes(native: int, multiple: int, scales: tuple[float, ...] = SCALES) -> Iterator[Size]:
    """The sizes at which regions are made, from the smallest to the largest."""
    grid = math.lcm(GRID, multiple)
    sizes = set()
    for scale in scales:
        for aspect in ASPECTS:
            long = max(1, round(native * scale * math.sqrt(aspect) / grid)) * grid
            short = max(1, round(native * scale / math.sqrt(aspect) / grid)) * grid
            sizes |= {(long, short), (short, long)}
    yield from sorted(sizes, key=lambda size: (area(size), size))


def tiles_of(size: Size, side: int, multiple: int, mask: Image.Image | None = None) -> Iterator[Box]:
    """Cover a size with overlapping tiles, row by row.

    Args:
        size: Width and height, multiples of ``multiple``.
        side: Of a tile; shorter where the size is.
        multiple: The boxes' edges are multiples of it.
        mask: Where something is drawn; tiles without any of it are left out. None draws everything.
    """
    columns, rows = (list(_starts(length, side, multiple)) for length in size)
    width, height = min(side, size[0]), min(side, size[1])
    tiles = [(left, upper, left + width, upper + height) for upper in rows for left in columns]
    if mask is None:
        yield from tiles
        return
    yield from [tile for tile in tiles if mask.crop(tile).getbbox() is not None] or tiles[:1]


def _starts(length: int, side: int, multiple: int) -> Iterator[int]:
    if length <= side:
        yield 0
        return
    count = math.ceil((length - side) / (side * (1 - OVERLAP))) + 1
    for number in range(count):
        yield round((length - side) * number / (count - 1) / multiple) * multiple
