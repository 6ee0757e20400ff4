"""What will be computed of a picture: a value that is known beforehand, deterministic, and part of the PNG file."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

Size = tuple[int, int]
"""Width and height in pixels."""

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels; right and lower are outside."""

NOTHING: Box = (0, 0, 0, 0)
"""What is replaced where nothing is masked."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One way through the model, from its first step to decoding.

    Attributes:
        box: What the model sees of the canvas.
        size: What the model works at, a multiple of its ``size_multiple``.
        inner: The part of ``size`` at its top left that shows the box; the rest is padding.
        tiles: Boxes within ``size`` that go through the model one by one and are blended in latents; empty where
            ``size`` goes through it at once.
        strength: The share of the schedule, 0 to 1; None where it is the operation's own.
    """

    box: Box
    size: Size
    inner: Size
    tiles: tuple[Box, ...] = ()
    strength: float | None = None

    @property
    def forward(self) -> Size:
        """The size of what goes through the model at once."""
        return size_of(self.tiles[0]) if self.tiles else self.size

    @property
    def pixels(self) -> int:
        """What one step computes."""
        return area(self.forward) * max(1, len(self.tiles))


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the canvas that is made by itself.

    Attributes:
        edit: What is replaced of the canvas; those of two regions have no pixel in common.
        passes: One, or a first one at the model's own scale and a second one in tiles at the canvas's. Each sees
            all of ``edit``, and the second no more than the first.
    """

    edit: Box
    passes: tuple[Pass, ...]

    @property
    def cost(self) -> float:
        """What one step computes on average, in pixels; a pass without a strength of its own counts in full."""
        return sum(each.pixels * (each.strength or 1) for each in self.passes)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one picture is made.

    Attributes:
        size: Of the picture.
        regions: From the top to the bottom; at least one.
    """

    size: Size
    regions: tuple[Region, ...]

    @property
    def whole(self) -> bool:
        """Whether the model makes the picture at once and at its own scale."""
        first = self.regions[0].passes[0]
        return first.box == (0, 0, *self.size) and first.inner == self.size and not first.tiles

    @property
    def forwards(self) -> tuple[Size, ...]:
        """The sizes of all that goes through the model at once; each one is there once."""
        return tuple(sorted({each.forward for region in self.regions for each in region.passes}))

    def text(self) -> str:
        """The plan for the parameters text: box and working size of each pass of each region."""
        return "; ".join(_text(region) for region in self.regions)

    def summary(self) -> str:
        """What is computed, in few words: how many regions of which sizes, then how many tiles."""
        if self.whole:
            return _by(self.size)
        passes = [each for region in self.regions for each in region.passes]
        regions = Counter(each.size for each in passes if not each.tiles)
        tiles: Counter[Size] = Counter()
        for each in passes:
            if each.tiles:
                tiles[each.forward] += len(each.tiles)
        return ", then ".join(_counted(sizes, word) for sizes, word in ((regions, "region"), (tiles, "tile")) if sizes)

    def warnings(self) -> Iterator[str]:
        """Sentences about what is drawn in vain, or shown larger than it is drawn because it is not refined."""
        for region in self.regions:
            if region.edit == NOTHING:
                yield "Nothing is masked, so nothing of the image is changed."
            last = region.passes[-1]
            seen = size_of(last.box)
            if last.inner[0] < seen[0] - 1:
                what = "The picture" if seen == self.size else "A part"
                yield f"{what} of {_by(seen)} is drawn with {_by(last.inner)} pixels and enlarged, without refinement."


def _by(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _counted(sizes: Counter[Size], word: str) -> str:
    return ", ".join(
        f"{count} {word}{'s' if count > 1 else ''} of {_by(size)}" for size, count in sorted(sizes.items())
    )


def _text(region: Region) -> str:
    parts = []
    for each in region.passes:
        (left, upper, _, _), (width, height) = each.box, size_of(each.box)
        tiles = f" in {len(each.tiles)} of {each.forward[0]}x{each.forward[1]}" if each.tiles else ""
        parts.append(f"{width}x{height}+{left}+{upper} at {each.size[0]}x{each.size[1]}{tiles}")
    return " then ".join(parts)


def size_of(box: Box) -> Size:
    """Width and height of a box."""
    return box[2] - box[0], box[3] - box[1]


def area(size: Size) -> int:
    """The pixels of a size."""
    return size[0] * size[1]


def union(one: Box, other: Box) -> Box:
    """The smallest box around two."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def intersection(one: Box, other: Box) -> Box | None:
    """What two boxes have in common; None where that is nothing."""
    left, upper = max(one[0], other[0]), max(one[1], other[1])
    right, lower = min(one[2], other[2]), min(one[3], other[3])
    return (left, upper, right, lower) if left < right and upper < lower else None


def grown(box: Box, by: int, size: Size) -> Box:
    """A box with ``by`` pixels more on each side, as far as the canvas of ``size`` reaches."""
    left, upper, right, lower = box
    return max(left - by, 0), max(upper - by, 0), min(right + by, size[0]), min(lower + by, size[1])


def squares(box: Box, side: int) -> Iterator[Box]:
    """Cut a box into squares row by row, smaller ones at its right and lower edge."""
    left, upper, right, lower = box
    for top in range(upper, lower, side):
        for start in range(left, right, side):
            yield start, top, min(start + side, right), min(top + side, lower)
