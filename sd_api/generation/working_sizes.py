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

# The share of a tile that the next one repeats, at least: where each is made by itself, and where the steps of all are
# blended, which leaves no border that would have to be hidden.
OVERLAP, BLENDED_OVERLAP = 0.25, 0.125


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


def tile_size(size: Size, native: int, multiple: int) -> Size:
    """The tiles that cover a size with the fewest pixels; their sides are 1 to 1.5 times the model's native one.

    Args:
        size: Width and height to be covered.
        native: The model's native side.
        multiple: The tile's sides are multiples of it.
    """
    grid = math.lcm(GRID, multiple)
    sides = [max(1, round(native * scale / grid)) * grid for scale in SCALES]
    width, height = (min(sides, key=lambda side: (_covered(length, side), side)) for length in size)
    return width, height


def tiles_of(
    size: Size, tile: Size, multiple: int, mask: Image.Image | None = None, overlap: float = OVERLAP
) -> Iterator[Box]:
    """Cover a size with overlapping tiles, row by row.

    Args:
        size: Width and height, multiples of ``multiple``.
        tile: Width and height of a tile; shorter where the size is.
        multiple: The boxes' edges are multiples of it.
        mask: Where something is drawn; tiles without any of it are left out. None draws everything.
        overlap: The share of a tile that the next one repeats, at least.
    """
    columns, rows = (list(_starts(length, side, multiple, overlap)) for length, side in zip(size, tile, strict=True))
    width, height = min(tile[0], size[0]), min(tile[1], size[1])
    tiles = [(left, upper, left + width, upper + height) for upper in rows for left in columns]
    if mask is None:
        yield from tiles
        return
    yield from [tile for tile in tiles if mask.crop(tile).getbbox() is not None] or tiles[:1]


def _covered(length: int, side: int) -> int:
    """The pixels that tiles of a side have in all along a length."""
    return min(length, side) * _count(length, side, BLENDED_OVERLAP)


def _count(length: int, side: int, overlap: float) -> int:
    return 1 if length <= side else math.ceil((length - side) / (side * (1 - overlap))) + 1


def _starts(length: int, side: int, multiple: int, overlap: float) -> Iterator[int]:
    count = _count(length, side, overlap)
    if count == 1:
        yield 0
        return
    for number in range(count):
        yield round((length - side) * number / (count - 1) / multiple) * multiple
