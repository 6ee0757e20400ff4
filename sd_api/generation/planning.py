"""Makes the plan of an operation: a pure function of the operation and of the model's abilities."""

import heapq
import math
from collections.abc import Iterator
from itertools import combinations

from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operation import MIN_SIDE, Operation
from sd_api.generation.operations import Edit, Inpaint, Redrawing
from sd_api.generation.plan import (
    NOTHING,
    Box,
    Pass,
    Plan,
    Region,
    Size,
    area,
    grown,
    intersection,
    size_of,
    union,
)
from sd_api.generation.working_sizes import BLENDED_OVERLAP, SCALES, tile_size, tiles_of, working_sizes
from sd_api.imaging.masks import masked_parts
from sd_api.imaging.sizing import padded_size

UNKNOWN = ModelAbilities(modes=(), size_multiple=8, native_size=512, capabilities=("tiles",))
"""What is assumed of a model that has not been loaded yet, for estimates."""

# The native size of models whose files do not say it.
NATIVE_SIZE = 1024

# Models that cannot draw in tiles draw pictures up to this many times their native side at once, well or not.
UNTILED = 2

# Of the native side: a part of a canvas that is no larger costs more by itself than the whole of it.
SMALL = 0.5

# A region is not enlarged where that would gain less than this; it sees more of the canvas instead. Not much more: a
# model draws a thing as large as what it sees, and a mask that is a small part of that shows only a piece of it.
LEAST_ENLARGED = 1.1

# What a join must leave of the scale of its parts, because what is drawn smaller is drawn worse; parts of up to so many
# pixels have nothing to be seen in them, and may be drawn as they are.
SCALE_KEPT = 0.5
DUST = 64

# The largest strength that changes so little that an image needs no first pass to hold its tiles together.
FAINT = 0.35

# What a model sees around a masked part, by the part's longer side, and at least in pixels, which is all that tiles
# show of it. A smaller share is taken where all of it then lies within the model's reach.
CONTEXT_SHARES = (0.25, 0.125, 0.0)
LEAST_CONTEXT = 32


def plan(operation: Operation, abilities: ModelAbilities = UNKNOWN) -> Plan:
    """Plan how a picture of an operation is made.

    Args:
        operation: What to do.
        abilities: Of the model.
    """
    return _Planner(operation, abilities).plan()


class _Planner:
    def __init__(self, operation: Operation, abilities: ModelAbilities) -> None:
        self.operation = operation
        self.size = operation.size
        self.native = abilities.native_size or NATIVE_SIZE
        self.multiple = abilities.size_multiple
        self.tiles = "tiles" in abilities.capabilities
        self.sizes = list(working_sizes(self.native, self.multiple))
        # What the second pass runs of the schedule; 0 where there is none.
        self.refine = getattr(operation, "refine", 0.0) if self.tiles else 0.0
        self.drafts: dict[Box, Region] = {}

    def plan(self) -> Plan:
        operation, full = self.operation, (0, 0, *self.size)
        if isinstance(operation, Inpaint):
            if operation.replaced.getbbox() is None:
                # As little as possible is drawn in vain.
                only = Pass(box=(0, 0, 1, 1), size=self._padded((1, 1)), inner=(1, 1))
                return Plan(size=self.size, regions=(Region(edit=NOTHING, passes=(only,)),))
            by_itself = operation.inpaint_area == "masked" or operation.rectangle is not None
            if operation.inpaint_area == "whole" or (not by_itself and area(self.size) <= (self.native * SMALL) ** 2):
                return self._at_once()
            regions = self._masked_regions(operation)
            sees_all = any(region.passes[0].box == full for region in regions)
            if not by_itself and sees_all and self._within_reach():
                return self._at_once()
            return Plan(size=self.size, regions=regions)
        if getattr(operation, "plan", None) == "whole" or self._within_reach():
            return self._at_once()
        if not self.refine and area(self.size) <= (UNTILED * self.native) ** 2:
            return self._at_once()
        return Plan(size=self.size, regions=(self._large(full, full),))

    def _within_reach(self) -> bool:
        padded = self._padded(self.size)
        return area(padded) <= area(self.sizes[-1]) and max(padded) <= max(map(max, self.sizes))

    def _padded(self, size: Size) -> Size:
        return padded_size(size, multiple=self.multiple, minimum=MIN_SIDE)

    def _at_once(self) -> Plan:
        full = (0, 0, *self.size)
        only = Pass(box=full, size=self._padded(self.size), inner=self.size)
        return Plan(size=self.size, regions=(Region(edit=full, passes=(only,)),))

    def _masked_regions(self, operation: Inpaint) -> tuple[Region, ...]:
        parts = masked_parts(operation.replaced)
        if operation.rectangle is not None:
            seen = intersection(operation.rectangle, (0, 0, *self.size))
            assert seen is not None  # noqa: S101 - the operation has looked
            edit = parts[0]
            for part in parts[1:]:
                edit = union(edit, part)
            return (self._region(union(seen, edit), edit),)
        joined = self._joined([self._draft(part) for part in parts])
        return tuple(self._region(self._seen(region.edit), region.edit) for region in joined)

    def _draft(self, part: Box) -> Region:
        """The region of a masked part, whose tiles may be more than there will be."""
        if part not in self.drafts:
            self.drafts[part] = self._region(self._seen(part), part, every_tile=True)
        return self.drafts[part]

    def _seen(self, part: Box) -> Box:
        """A masked part with its context."""
        operation = self.operation
        assert isinstance(operation, Inpaint)  # noqa: S101 - only those have masks
        if operation.context is not None:
            share = operation.context if operation.context >= 1 else operation.context * max(size_of(part))
            return grown(part, round(share), self.size)
        contexts = [max(LEAST_CONTEXT, round(share * max(size_of(part)))) for share in CONTEXT_SHARES]
        seen = [grown(part, context, self.size) for context in contexts]
        return next((box for box in seen if self._fitting(box)), seen[0])

    def _fitting(self, box: Box) -> list[Size]:
        """The working sizes that show a box without shrinking it."""
        width, height = size_of(box)
        return [size for size in self.sizes if size[0] >= width and size[1] >= height]

    def _joined(self, regions: list[Region]) -> list[Region]:
        """Join regions as long as that is cheaper, and those whose parts overlap."""
        joins = [join for one, other in combinations(regions, 2) for join in self._join(one, other)]
        heapq.heapify(joins)
        left = {region.edit: region for region in regions}
        while joins:
            _, one, other, edit = heapq.heappop(joins)
            if one not in left or other not in left:
                continue
            del left[one], left[other]
            joined = self._draft(edit)
            # A third part may have the same box.
            left.pop(edit, None)
            for region in left.values():
                for join in self._join(joined, region):
                    heapq.heappush(joins, join)
            left[edit] = joined
        return sorted(left.values(), key=lambda region: (region.edit[1], region.edit[0]))

    def _join(self, one: Region, other: Region) -> Iterator[tuple[float, Box, Box, Box]]:
        """What a join saves, negated, with the parts of the two and of both; nothing where they stay apart."""
        edit = union(one.edit, other.edit)
        if intersection(one.edit, other.edit) is not None:
            yield -math.inf, one.edit, other.edit, edit
        # Most pairs are too far from each other: all tiles would cost more, or all would be drawn too small.
        elif area(size_of(edit)) * FAINT < one.cost + other.cost:
            joined = self._draft(edit)
            gain = one.cost + other.cost - joined.cost
            if gain > 0 and _scale(joined) >= max(_least_scale(one), _least_scale(other)):
                yield -gain, one.edit, other.edit, edit

    def _region(self, seen: Box, edit: Box, *, every_tile: bool = False) -> Region:
        """The region of a masked part.

        Args:
            seen: What the model shall see of the canvas; it sees more where that costs nothing.
            edit: What is replaced.
            every_tile: Whether tiles without anything masked stand in it, too.
        """
        fitting = self._fitting(seen)
        if not fitting:
            return self._large(seen, edit, every_tile=every_tile)
        least = size_of(seen)
        # Of those that cost about the same, the one that shows the part largest.
        size = min(fitting, key=lambda size: (round(4 * area(size) / self.native**2), -_enlargement(least, size), size))
        scale = _enlargement(least, size)
        if scale < LEAST_ENLARGED:
            scale = 1.0
        box = _around(seen, (round(size[0] / scale), round(size[1] / scale)), (0, 0, *self.size))
        return Region(edit=edit, passes=(Pass(box=box, size=size, inner=_inner(size_of(box), size)),))

    def _large(self, seen: Box, edit: Box, *, every_tile: bool = False) -> Region:
        """A region beyond the model's reach: at the model's own scale, and then in tiles at the canvas's."""
        shown = size_of(seen)
        size = min(self._native_sizes(), key=lambda size: (-area(_inner(shown, size)), size))
        inner = _inner(shown, size)
        if not isinstance(self.operation, Redrawing):
            size = inner = self._scaled_to_native(shown)
        if isinstance(self.operation, Edit):
            # Unlike a picture from text, it keeps its shape, and has something to be padded with.
            inner = _inner(shown, size)
        passes = [Pass(box=seen, size=size, inner=inner)]
        if strength := self.refine:
            if isinstance(self.operation, Redrawing) and self.operation.strength <= min(strength, FAINT):
                passes, strength = [], self.operation.strength
            passes.append(self._in_tiles(seen, edit, strength, every_tile=every_tile))
        return Region(edit=edit, passes=tuple(passes))

    def _in_tiles(self, seen: Box, edit: Box, strength: float, *, every_tile: bool) -> Pass:
        least = intersection(grown(edit, LEAST_CONTEXT, self.size), seen)
        assert least is not None  # noqa: S101 - it is seen
        width, height = size_of(least)
        # Within what has been seen before: that is what the tiles refine.
        box = _around(least, (max(self.native, width), max(self.native, height)), seen)
        work = self._padded(size_of(box))
        mask = None
        if isinstance(self.operation, Inpaint) and not every_tile:
            mask = self.operation.replaced.crop(box)
        tile = tile_size(work, self.native, self.multiple)
        tiles = tuple(tiles_of(work, tile, self.multiple, mask, BLENDED_OVERLAP))
        return Pass(box=box, size=work, inner=size_of(box), tiles=tiles, strength=strength)

    def _native_sizes(self) -> list[Size]:
        return list(working_sizes(self.native, self.multiple, SCALES[:1]))

    def _scaled_to_native(self, size: Size) -> Size:
        scale = min(1.0, self.native / math.sqrt(area(size)))
        width, height = (max(MIN_SIDE, round(side * scale / self.multiple) * self.multiple) for side in size)
        return width, height


def _enlargement(least: Size, size: Size) -> float:
    return min(size[0] / least[0], size[1] / least[1])


def _inner(shown: Size, size: Size) -> Size:
    """The size of what is shown, scaled to fit into a working size; it is at least one pixel wide and high."""
    scale = _enlargement(shown, size)
    width, height = (max(1, min(round(side * scale), most)) for side, most in zip(shown, size, strict=True))
    return width, height


def _scale(region: Region) -> float:
    """Working pixels for each pixel of the canvas, along a side."""
    first = region.passes[0]
    return first.inner[0] / size_of(first.box)[0]


def _least_scale(region: Region) -> float:
    """The scale at which a region's part may be drawn when it is joined with others."""
    least = SCALE_KEPT * _scale(region)
    return min(1.0, least) if max(size_of(region.edit)) <= DUST else least


def _around(seen: Box, size: Size, canvas: Box) -> Box:
    """A box of a size around another, within a canvas; as far as that allows, the other is in its middle."""
    left, right = _placed(seen[0], seen[2], size[0], canvas[0], canvas[2])
    upper, lower = _placed(seen[1], seen[3], size[1], canvas[1], canvas[3])
    return left, upper, right, lower


def _placed(start: int, end: int, length: int, first: int, last: int) -> tuple[int, int]:
    length = min(max(length, end - start), last - first)
    begin = min(max((start + end - length) // 2, first), last - length)
    return begin, begin + length
