"""From what was drawn in each region to one picture: the canvas with it, or a layer that lies over the canvas."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageChops

from sd_api.engine.passes import Drawn, absolute, own_mask, relative
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.generation.plan import Box, Plan, Region, grown, intersection, size_of, squares
from sd_api.generation.result import Placement
from sd_api.imaging.blending import ANY_LEVEL, CORRECTED, MatchedBorder
from sd_api.imaging.collage import Collage, Piece
from sd_api.imaging.grain import Grain, missing_grain, with_grain
from sd_api.imaging.masks import seam_reach, with_seam
from sd_api.imaging.sizing import part_of

# Pixels in which a region fades into the canvas where no request says it: wide enough to hide a step of colour, and
# narrow enough not to show what was there before.
WIDEST_SEAM = 24
# Where the canvas is extended: there is only its repeated edge to fade into, which shows as streaks.
WIDEST_EXTENDED_SEAM = 8

# The sides of the squares in which a drawing meets the canvas, one at a time, and in which what the mask shows of it is
# held: of a frame around a large canvas, that is little.
_MATCHED, _HELD = 512, 128


def composed(operation: Inpaint, plan: Plan, drawn: Drawn) -> Collage:
    """The canvas with what was drawn in each region, which is given up; other pixels are as they were, with alpha."""
    pieces = _all_pieces(operation, plan, drawn)
    # Pieces have masks of their own; a file with further samples is read a second time.
    operation.let_go()
    result = unchanged(operation)
    for piece in pieces:
        result.lay(piece)
    return result


def unchanged(operation: FromImage) -> Collage:
    """The canvas alone, with its alpha and in the depth that is asked for."""
    samples = operation.samples()
    return Collage(operation.image.pixels if samples is None else samples, operation.margins)


def layer(operation: Inpaint, plan: Plan, drawn: Drawn) -> tuple[Collage, Placement]:
    """What was drawn, to lie over the canvas with straight alpha: RGBA, transparent where the canvas is kept.

    What was drawn is given up. It is empty where the operation has no steps, and a flagged picture is black.

    Returns:
        The layer, of the canvas's size or, as a patch, of that of the mask's bounding box (one pixel where nothing is
        masked), and where it lies.
    """
    shown: Box = (0, 0, *plan.size)
    if operation.output == "patch":
        shown = operation.replaced.getbbox() or (0, 0, 1, 1)
    pieces = _all_pieces(operation, plan, drawn) if operation.steps_run else []
    operation.let_go()
    deep = operation.depth == "source" and operation.image.is_deep
    # One transparent pixel whose margins are repeated, so that no more is held than what was drawn.
    width, height = size_of(shown)
    result = Collage(np.zeros((1, 1, 4), np.uint16 if deep else np.uint8), (0, 0, width - 1, height - 1))
    for box, image, mask in pieces:
        result.lay((relative(box, shown), image, mask))
    return result, Placement(*shown[:2], *plan.size)


def _all_pieces(operation: Inpaint, plan: Plan, drawn: Drawn) -> list[Piece]:
    """What was drawn in all regions; no more is held of a drawing than the mask shows."""
    return [
        piece
        for region in plan.regions
        for piece in _pieces(operation, plan, region, drawn.regions.pop(0), black=drawn.nsfw)
    ]


def _pieces(operation: Inpaint, plan: Plan, region: Region, image: Image.Image, *, black: bool) -> Iterator[Piece]:
    """What was drawn in a region, as far as its mask shows it, or black in its place."""
    box = region.passes[-1].box
    grain = None if black else _grain(operation, plan, region, image)
    for square in squares(box, _MATCHED):
        # With the pixels around it that say how it is to be matched.
        around = intersection(grown(square, 2 * CORRECTED, plan.size), box)
        assert around is not None  # noqa: S101 - it holds the square
        mask, added = _mask(operation, plan, region, around), _added(operation, region, around)
        # Nothing lies below a drawing where the canvas is extended.
        opacity = mask if added is None else ImageChops.lighter(mask, added)
        shown = [_masked(opacity, relative(place, around)) for place in squares(square, _HELD)]
        if not any(shown):
            continue
        if black:
            for part in filter(None, shown):
                yield absolute(part, around), Image.new("RGB", size_of(part)), opacity.crop(part)
            continue
        matched = MatchedBorder(partial(_seen, operation, around), image.crop(relative(around, box)), mask)
        for part in filter(None, shown):
            place = absolute(part, around)
            drawing = with_grain(matched.part(part), grain, *place[:2])
            if added is not None:
                drawing = _faded(drawing, operation.part(place), mask.crop(part), added.crop(part))
            yield place, drawing, opacity.crop(part)


def _grain(operation: Inpaint, plan: Plan, region: Region, image: Image.Image) -> Grain | None:
    """What a drawing lacks of the canvas's grain; a picture that is drawn at once stays as the model made it."""
    if plan.whole:
        return None
    box = region.passes[-1].box
    return missing_grain(
        partial(_seen, operation, box), image, lambda part: own_mask(operation.replaced, region, absolute(part, box))
    )


def _faded(drawing: Image.Image, canvas: Image.Image, mask: Image.Image, added: Image.Image) -> Image.Image:
    """A drawing that has faded already into the canvas's repeated edge, where nothing lies below it."""
    return Image.composite(Image.composite(drawing, canvas, mask), drawing, added)


def _masked(mask: Image.Image, box: Box) -> Box | None:
    """The box of what is masked within a box; None where nothing is."""
    masked = mask.crop(box).getbbox()
    return None if masked is None else absolute(masked, box)


def _seen(operation: Inpaint, origin: Box, box: Box) -> Image.Image:
    return operation.part(absolute(box, origin))


def _added(operation: Inpaint, region: Region, box: Box) -> Image.Image | None:
    """A mask of what ``extend`` adds to the canvas and a region draws within a box; None where nothing is added."""
    if not any(operation.margins):
        return None
    (left, upper, _, _), (width, height) = operation.margins, operation.image.size
    added = own_mask(operation.replaced, region, box).point(ANY_LEVEL)
    if (kept := intersection((left, upper, left + width, upper + height), box)) is not None:
        added.paste(0, relative(kept, box))
    return added


def _mask(operation: Inpaint, plan: Plan, region: Region, box: Box) -> Image.Image:
    """What a box, within that of the last pass, shows of a region's mask with its seam."""
    width, thin = _seam(operation, plan)
    # Also beyond what the model has seen: a drawing that ends where that does must not end with an edge.
    around = grown(box, seam_reach(width, thin=thin), plan.size)
    mask = with_seam(own_mask(operation.replaced, region, around), width, thin=thin)
    return part_of(mask, relative(box, around))


def _seam(operation: Inpaint, plan: Plan) -> tuple[int, bool]:
    """The width of the seam, and whether it is narrower where what is masked is thin."""
    if operation.seam is not None:
        return operation.seam, False
    widest = WIDEST_EXTENDED_SEAM if any(operation.margins) else WIDEST_SEAM
    return (0 if plan.whole else widest), True
