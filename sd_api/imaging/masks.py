"""Masks of mode L, 255 = replace and 0 = keep: what is done to a client's, their seams, and their parts."""

from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter
from scipy import ndimage

from sd_api.imaging.sizing import resize_mask

# By what factor the thicknesses differ that are distinguished in a mask.
_FINER = 1.3

_Floats = npt.NDArray[np.float32]

# Parts of a mask are looked for in cells, at first of this side in pixels; in larger ones where there are more parts.
_CELL = 8
MAX_PARTS = 256

# The side of the squares that fade one by one, because distances take many times their room; those in which nothing
# fades take no time.
_SQUARE = 512


def prepared(
    mask: Image.Image, size: tuple[int, int], *, invert: bool = False, grow: int = 0, blur: int = 0
) -> Image.Image:
    """Bring a mask to the size of its image, and change it as asked.

    Args:
        mask: As the client sent it.
        size: Width and height of the image.
        invert: Whether black is replaced.
        grow: Pixels by which it grows on all sides, or shrinks below 0.
        blur: The radius of a Gaussian blur in pixels.
    """
    mask = resize_mask(mask, size)
    if invert:
        mask = ImageChops.invert(mask)
    if grow:
        change = ndimage.maximum_filter if grow > 0 else ndimage.minimum_filter
        # What lies outside of the image is as its edge, so that a mask at the edge does not shrink away from it.
        mask = Image.fromarray(change(np.asarray(mask), size=2 * abs(grow) + 1, mode="nearest"))
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def extended(mask: Image.Image, margins: tuple[int, int, int, int]) -> Image.Image:
    """Add margins (left, top, right, bottom) in which everything is replaced."""
    left, top, right, bottom = margins
    canvas = Image.new("L", (left + mask.width + right, top + mask.height + bottom), 255)
    canvas.paste(mask, (left, top))
    return canvas


def within(mask: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Keep everything outside of a box, which may reach beyond the mask; the same mask where nothing lies there."""
    left, upper = max(box[0], 0), max(box[1], 0)
    right, lower = min(box[2], mask.width), min(box[3], mask.height)
    if (left, upper, right, lower) == (0, 0, *mask.size):
        return mask
    kept = Image.new("L", mask.size, 0)
    # Pillow would make what lies beyond the mask as well, however large it is.
    kept.paste(mask.crop((left, upper, max(left, right), max(upper, lower))), (left, upper))
    return kept


def with_seam(mask: Image.Image, width: int, *, thin: bool = False) -> Image.Image:
    """Let a mask rise smoothly from 0 to its value within a border.

    Args:
        mask: The mask; the edges of the image are no border of it.
        width: Of the border in pixels, inside of the mask.
        thin: Whether the border is at most a quarter of what is masked there is thick, so that no line and no dot fades
            away.
    """
    levels = np.asarray(mask)
    if width == 0 or levels.all():
        return mask
    result = np.empty_like(levels)
    reach = seam_reach(width, thin=thin)
    for upper, left in product(range(0, mask.height, _SQUARE), range(0, mask.width, _SQUARE)):
        square = slice(upper, upper + _SQUARE), slice(left, left + _SQUARE)
        # What lies farther away counts as far.
        above, before = min(upper, reach), min(left, reach)
        part = levels[upper - above : upper + _SQUARE + reach, left - before : left + _SQUARE + reach]
        if part.all() or not part.any():
            result[square] = levels[square]
            continue
        depth = _depth(part > 0)
        rise = (depth / ((_borders(depth, width) if thin else width) + 1)).clip(0, 1)
        faded = np.rint(part * rise**2 * (3 - 2 * rise)).astype(np.uint8)
        result[square] = faded[above : above + _SQUARE, before : before + _SQUARE]
    return Image.fromarray(result)


def seam_reach(width: int, *, thin: bool) -> int:
    """How far away from a pixel, in pixels, a mask says how the pixel fades; for the arguments see ``with_seam``."""
    return 4 * width if thin else width


def _depth(masked: npt.NDArray[np.bool_]) -> _Floats:
    """The distance of each pixel from the nearest one that is not masked, and of those 0; there is such a pixel."""
    # Imported here, because no start waits for it. It takes a quarter of the time that SciPy takes.
    import cv2

    depth = cv2.distanceTransform(masked.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(depth, np.float32)


def _borders(depth: _Floats, width: int) -> _Floats:
    """The width of the border at each pixel: a quarter of how thick the mask is there, and at most ``width``.

    A mask is as thick at a pixel as the largest square around a pixel of such a depth that holds it. A line of one or
    two pixels has no border. The outermost pixel has depth 1.
    """
    import cv2

    radii, largest = [2], 2 * width + 1
    while radii[-1] < largest:
        radii.append(min(max(radii[-1] + 1, round(radii[-1] * _FINER)), largest))
    thick, left = np.ones_like(depth), depth > 0
    # The thickest first, because most masks are nowhere thin.
    for radius in reversed(radii):
        square = np.ones((2 * radius - 1, 2 * radius - 1), np.uint8)
        near = cv2.dilate((depth >= radius).view(np.uint8), square).view(np.bool_)
        thick[near & left] = radius
        left &= ~near
        if not left.any():
            break
    return ((thick - 1) / 2).astype(np.float32)


def masked_parts(mask: Image.Image) -> list[tuple[int, int, int, int]]:
    """The boxes of a mask's connected parts, at most ``MAX_PARTS``; parts that nearly touch count as connected.

    Args:
        mask: Mode L; everything above 0 is masked.
    """
    box = mask.getbbox()
    if box is None:
        return []
    # In cells: an average of pixels that are 0 or 255 is above 0 where one of 64 is.
    cells = np.asarray(mask.crop(box).point(lambda level: 255 if level else 0).reduce(_CELL)) > 0
    side = _CELL
    labels, count = ndimage.label(cells, np.ones((3, 3)))
    while count > MAX_PARTS:
        side *= 2
        cells = np.pad(cells, [(0, length % 2) for length in cells.shape])
        cells = cells[::2, ::2] | cells[1::2, ::2] | cells[::2, 1::2] | cells[1::2, 1::2]
        labels, count = ndimage.label(cells, np.ones((3, 3)))
    return [_tight(mask, box, rows, columns, side) for rows, columns in ndimage.find_objects(labels)]


def _tight(
    mask: Image.Image, box: tuple[int, int, int, int], rows: slice, columns: slice, side: int
) -> tuple[int, int, int, int]:
    """The box of what is masked in some cells of a box."""
    left, upper = box[0] + columns.start * side, box[1] + rows.start * side
    right, lower = min(box[0] + columns.stop * side, box[2]), min(box[1] + rows.stop * side, box[3])
    tight = mask.crop((left, upper, right, lower)).getbbox()
    assert tight is not None  # noqa: S101 - there is something masked in each cell
    return left + tight[0], upper + tight[1], left + tight[2], upper + tight[3]
