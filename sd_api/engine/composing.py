"""From what was drawn in each region to one picture: the canvas with it, or a layer that lies over the canvas."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageChops

from sd_api.engine.passes import Drawn, absolute, own_mask, relative
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.generation.plan import Box, Plan, Region, grown, intersection, size_of, squares
from sd_api.generation.result import Placement
from sd_api.imaging.blending import ANY_LEVEL, CORRECTED, MatchedBorder, cut_out, match_border
from sd_api.imaging.collage import Collage, Piece
from sd_api.imaging.grain import Grain, missing_grain, with_grain
from sd_api.imaging.masks import seam_reach, with_seam
from sd_api.imaging.samples import Array
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
    pieces: list[Piece] = []
    for region in plan.regions:
        # No more is held of a drawing than the mask shows.
        pieces += _pieces(operation, plan, region, drawn.regions.pop(0))
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


def _pieces(operation: Inpaint, plan: Plan, region: Region, image: Image.Image) -> Iterator[Piece]:
    """What was drawn in a region, as far as its mask shows it."""
    box = region.passes[-1].box
    grain = _grain(operation, plan, region, image)
    for square in squares(box, _MATCHED):
        # With the pixels around it that say how it is to be matched.
        around = intersection(grown(square, 2 * CORRECTED, plan.size), box)
        assert around is not None  # noqa: S101 - it holds the square
        mask, added = _mask(operation, plan, region, around), _added(operation, region, around)
        opaque = _opaque(mask, added)
        shown = [_masked(opaque, relative(place, around)) for place in squares(square, _HELD)]
        if not any(shown):
            continue
        matched = MatchedBorder(partial(_seen, operation, around), image.crop(relative(around, box)), mask)
        for part in filter(None, shown):
            place = absolute(part, around)
            drawn = with_grain(matched.part(part), grain, *place[:2])
            if added is not None:
                drawn = _faded(drawn, operation.part(place), mask.crop(part), added.crop(part))
            yield place, drawn, opaque.crop(part)


def _grain(operation: Inpaint, plan: Plan, region: Region, image: Image.Image) -> Grain | None:
    """What a drawing lacks of the canvas's grain; a picture that is drawn at once stays as the model made it."""
    if plan.whole:
        return None
    box = region.passes[-1].box
    return missing_grain(
        partial(_seen, operation, box), image, lambda part: own_mask(operation.replaced, region, absolute(part, box))
    )


def _masked(mask: Image.Image, box: Box) -> Box | None:
    """The box of what is masked within a box; None where nothing is."""
    masked = mask.crop(box).getbbox()
    return None if masked is None else absolute(masked, box)


def _seen(operation: Inpaint, origin: Box, box: Box) -> Image.Image:
    return operation.part(absolute(box, origin))


def layer(operation: Inpaint, plan: Plan, drawn: Drawn) -> tuple[Image.Image | Array, Placement]:
    """What was drawn, to lie over the canvas with straight alpha: RGBA, transparent where the canvas is kept.

    Nothing is drawn where the operation has no steps, and a flagged picture is black.

    Returns:
        The layer, of the canvas's size or, as a patch, of that of the mask's bounding box (one pixel where nothing is
        masked), and where it lies.
    """
    shown: Box = (0, 0, *plan.size)
    if operation.output == "patch":
        shown = operation.replaced.getbbox() or (0, 0, 1, 1)
    result = Image.new("RGBA", size_of(shown))
    # Without steps there are no regions.
    for region, image in zip(plan.regions, drawn.regions, strict=False):
        if (edit := intersection(region.edit, shown)) is not None:
            cut = _cut(operation, plan, region, image, black=drawn.nsfw).crop(relative(edit, region.passes[-1].box))
            result.paste(cut, relative(edit, shown)[:2])
    placement = Placement(*shown[:2], *plan.size)
    if operation.depth == "source" and operation.image.is_deep:
        return np.asarray(result).astype(np.uint16) * np.uint16(257), placement
    return result, placement


def _cut(operation: Inpaint, plan: Plan, region: Region, image: Image.Image, *, black: bool) -> Image.Image:
    """The layer of one region, of the size of its last pass's box."""
    box, mask = region.passes[-1].box, _mask(operation, plan, region, region.passes[-1].box)
    if black:
        return cut_out(Image.new("RGB", image.size), mask)
    original = operation.part(box)
    grain = _grain(operation, plan, region, image)
    image = with_grain(match_border(original, image, mask), grain, *box[:2])
    added = _added(operation, region, box)
    if added is not None:
        image = _faded(image, original, mask, added)
    return cut_out(image, _opaque(mask, added))


def _added(operation: Inpaint, region: Region, box: Box) -> Image.Image | None:
    """A mask of what ``extend`` adds to the canvas and a region draws within a box; None where nothing is added."""
    if not any(operation.margins):
        return None
    (left, upper, _, _), (width, height) = operation.margins, operation.image.size
    added = own_mask(operation.replaced, region, box).point(ANY_LEVEL)
    if (kept := intersection((left, upper, left + width, upper + height), box)) is not None:
        added.paste(0, relative(kept, box))
    return added


def _faded(image: Image.Image, original: Image.Image, mask: Image.Image, added: Image.Image) -> Image.Image:
    """A drawing that fades into the canvas's repeated edge where ``extend`` adds to the canvas."""
    return Image.composite(Image.composite(image, original, mask), image, added)


def _opaque(mask: Image.Image, added: Image.Image | None) -> Image.Image:
    """How opaque a drawing is: all over where ``extend`` adds to the canvas, because nothing lies below it there."""
    return mask if added is None else ImageChops.lighter(mask, added)


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
