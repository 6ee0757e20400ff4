"""Padding and cropping to the sizes that models take, and masks in these sizes."""

from math import ceil
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


def padded_size(size: tuple[int, int], *, multiple: int, minimum: int) -> tuple[int, int]:
    """Find the smallest size that holds a picture and suits a model.

    Args:
        size: width and height in pixels.
        multiple: the factor that both sides have to be multiples of.
        minimum: least number of pixels on each side.

    Returns:
        Width and height, at least those of ``size``.
    """
    width, height = (ceil(max(side, minimum) / multiple) * multiple for side in size)
    return width, height


def pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge the canvas to the right and downwards, repeating the pixels of the edge.

    Args:
        image: an image of mode RGB or L.
        size: new width and height, neither smaller than the image's.

    Returns:
        An image of that size with the same ``info``; the same image where nothing has to be added.
    """
    return extended_image(image, (0, 0, size[0] - image.width, size[1] - image.height))


def extended_image(image: Image.Image, margins: tuple[int, int, int, int]) -> Image.Image:
    """Enlarge the canvas on its sides, repeating the pixels of the edge.

    Args:
        image: an image of mode RGB, RGBA or L.
        margins: pixels on the left, top, right and bottom.

    Returns:
        An image with the same ``info``; the same image where nothing has to be added.
    """
    if not any(margins):
        return image
    left, top, right, bottom = margins
    if min(margins) < 0:
        raise ValueError("margins must not be negative")
    width, height = left + image.width + right, top + image.height + bottom
    padded = Image.new(image.mode, (width, height))
    padded.info = dict(image.info)
    padded.paste(image, (left, top))
    edges = [
        ((left, top, left + image.width, top + 1), (left, 0), (image.width, top)),
        (
            (left, height - bottom - 1, left + image.width, height - bottom),
            (left, height - bottom),
            (image.width, bottom),
        ),
        ((left, 0, left + 1, height), (0, 0), (left, height)),
        ((width - right - 1, 0, width - right, height), (width - right, 0), (right, height)),
    ]
    for edge, place, size in edges:
        if all(size):
            padded.paste(padded.crop(edge).resize(size, Image.Resampling.NEAREST), place)
    return padded


def extended_samples(samples: npt.NDArray[np.generic], margins: tuple[int, int, int, int]) -> npt.NDArray[np.generic]:
    """The same for an array (height, width) or (height, width, channels)."""
    if not any(margins):
        return samples
    left, top, right, bottom = margins
    edges = [(top, bottom), (left, right)] + [(0, 0)] * (samples.ndim - 2)
    return np.pad(samples, edges, mode="edge")


def size_of_canvas(
    canvas: Image.Image | npt.NDArray[np.generic], margins: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Width and height of an image, or of samples (height, width, channels), with margins on its sides."""
    width, height = canvas.size if isinstance(canvas, Image.Image) else (canvas.shape[1], canvas.shape[0])
    left, top, right, bottom = margins
    return left + width + right, top + height + bottom


@overload
def extended_part(
    canvas: Image.Image, margins: tuple[int, int, int, int], box: tuple[int, int, int, int]
) -> Image.Image: ...
@overload
def extended_part(
    canvas: npt.NDArray[Any], margins: tuple[int, int, int, int], box: tuple[int, int, int, int]
) -> npt.NDArray[Any]: ...
def extended_part(
    canvas: Image.Image | npt.NDArray[Any], margins: tuple[int, int, int, int], box: tuple[int, int, int, int]
) -> Image.Image | npt.NDArray[Any]:
    """What a box shows of a canvas that ``extended_image`` would enlarge, without enlarging all of it.

    Args:
        canvas: An image, or samples (height, width, channels).
        margins: Pixels on the left, top, right and bottom.
        box: Within the enlarged canvas.

    Returns:
        The same image, or a view of the samples, where nothing has to be done.
    """
    width, height = size_of_canvas(canvas, (0, 0, 0, 0))
    left, right, before, after = _span(box[0] - margins[0], box[2] - margins[0], width)
    upper, lower, above, below = _span(box[1] - margins[1], box[3] - margins[1], height)
    if isinstance(canvas, Image.Image):
        return extended_image(part_of(canvas, (left, upper, right, lower)), (before, above, after, below))
    return extended_samples(canvas[upper:lower, left:right], (before, above, after, below))


def _span(start: int, end: int, length: int) -> tuple[int, int, int, int]:
    """What lies within a length, at least one pixel of it; and the pixels that are missing before and after that."""
    first = min(max(start, 0), length - 1)
    last = max(min(end, length), first + 1)
    missing = end - start - (last - first)
    before = min(max(first - start, 0), missing)
    return first, last, before, missing - before


def part_of(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """What a box shows of an image; the same image where that is all of it."""
    return image if box == (0, 0, *image.size) else image.crop(box)


def crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut out the top left region of that size; the inverse of ``pad``."""
    return image.crop((0, 0, *size))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bring an image to another scale without ringing at its edges; the same size changes nothing.

    Args:
        image: Mode RGB.
        size: new width and height.

    Returns:
        The same image where nothing has to be done.
    """
    if image.size == size:
        return image
    # Neither filter has negative lobes, so no pixel is beyond those that it is made of. Hamming is the sharper one of
    # the two where it averages, and shows steps where it enlarges.
    shrinks = size[0] * size[1] < image.width * image.height
    return image.resize(size, Image.Resampling.HAMMING if shrinks else Image.Resampling.BILINEAR)


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture or a mask so that it fills a size, and cut off on both sides what exceeds it.

    Args:
        image: An image of mode RGB or L.
        size: New width and height.
    """
    method = Image.Resampling.BILINEAR if image.mode == "L" else Image.Resampling.LANCZOS
    covered = ImageOps.fit(image, size, method)
    covered.info = dict(image.info)
    return covered


def contained_size(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape that fits into a frame, each side at least one pixel."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fill_up(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture or a mask so that it fits into a size, and repeat its edge on both sides of it.

    Args:
        image: An image of mode RGB or L.
        size: New width and height.
    """
    method = Image.Resampling.BILINEAR if image.mode == "L" else Image.Resampling.LANCZOS
    small = image.resize(contained_size(image.size, size), method)
    left, upper = (size[0] - small.width) // 2, (size[1] - small.height) // 2
    pixels = np.asarray(small)
    edges = [(upper, size[1] - small.height - upper), (left, size[0] - small.width - left)]
    filled = Image.fromarray(np.pad(pixels, edges + [(0, 0)] * (pixels.ndim - 2), mode="edge"))
    filled.info = dict(image.info)
    return filled


def resize_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Stretch a mask to a size; 0 stays 0 and 255 stays 255, and the same size changes nothing.

    Bilinear, because sharper filters overshoot and would leave traces in what is to be kept.

    Args:
        mask: a mask of mode L.
        size: new width and height.

    Returns:
        A mask of mode L; the same one where nothing has to be done.
    """
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def highest_levels(mask: Image.Image, cell: int) -> npt.NDArray[np.uint8]:
    """The highest level in each cell of a mask, so that a cell with any mask in it counts as masked.

    Args:
        mask: a mask of mode L.
        cell: the side of a cell in pixels; width and height are multiples of it.

    Returns:
        (height / cell, width / cell), 0 to 255.
    """
    rows, columns = mask.height // cell, mask.width // cell
    levels: npt.NDArray[np.uint8] = np.asarray(mask).reshape(rows, cell, columns, cell).max(axis=(1, 3))
    return levels


def whole_cells(mask: Image.Image, cell: int) -> Image.Image:
    """A mask of the same size, black and white, in which every cell with any mask in it is white all over.

    Args:
        mask: a mask of mode L.
        cell: see ``highest_levels``.
    """
    white = np.where(highest_levels(mask, cell) > 0, np.uint8(255), np.uint8(0))
    return Image.fromarray(white.repeat(cell, axis=0).repeat(cell, axis=1))
