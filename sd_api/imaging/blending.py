"""Composites generated pixels into the original, without a seam at the border of the mask.

A model's autoencoder shifts colours by a few levels, which shows as a faint seam where generated
pixels meet original ones. The kept side shows how large the shift is, because the model has passed
those pixels through its autoencoder too. It is estimated there, at low frequency, and added to the
generated pixels with a falloff: all of it at the border, nothing of it further inside. Kept pixels that
differ by more than such a shift show other content, and must not influence the estimate.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from sd_api.imaging.samples import Array
from sd_api.imaging.sizing import part_of

CORRECTED = 64
"""Generated pixels that lie farther than this from every kept pixel, in pixels, are never changed."""

ANY_LEVEL = [0] + [255] * 255
"""The table with which ``Image.point`` makes a mask black and white: every level above 0 is white."""

# A shift is smooth, so it is estimated on a coarse grid: a sixteenth of the work for the same result.
# Lengths below are in cells. Whether a pixel is corrected is settled by the cells around it, whose
# centres are up to 6 px away from it and up to 2 px from a kept pixel inside: 56 + 6 + 2 <= CORRECTED.
_CELL = 4  # px
_SIGMA = 3.0
_TRUNCATED = 5.0  # sigmas; farther than the falloff reaches, so that there is always an estimate
_FALLOFF = (1.0, 14.0)
_REACH = int(_SIGMA * _TRUNCATED + 0.5)  # as far as a cell acts

# In levels of 255; full effect up to the first, none from the second on.
_OUTLIER = (24.0, 48.0)  # a kept pixel that differs so much shows other content and is ignored
_SHIFT = (8.0, 24.0)  # an estimate that is so large is no colour shift

_ROWS = (
    64  # that are worked on at a time, of pixels or of cells: they take several times their room meanwhile; whole cells
)

_TINY = np.finfo(np.float32).tiny  # keeps 0 / 0 at 0

_Floats = npt.NDArray[np.float32]
_Box = tuple[int, int, int, int]


def lay_over(samples: Array, generated: Image.Image, mask: Image.Image) -> None:
    """Replace the masked part of samples in place, as ``Image.composite`` does for what has no alpha and 8 bits.

    What is drawn is opaque as far as the mask acts: it lies over the samples as a layer with the mask for its alpha.

    Args:
        samples: (height, width, 3 or 4) of uint8 or uint16, straight alpha.
        generated: mode RGB, the same size, with its colour shift removed.
        mask: mode L, the same size; samples where it is 0 are not touched.
    """
    white = int(np.iinfo(samples.dtype).max)
    for box in in_rows((0, 0, *mask.size)):
        levels = np.asarray(mask.crop(box))
        there = levels > 0
        if not there.any():
            continue
        part = samples[box[1] : box[3]]
        old, opacity = part[there].astype(np.float32), levels[there][:, None].astype(np.float32) / 255
        new = np.asarray(generated.crop(box))[there].astype(np.float32) * (white / 255)
        if samples.shape[-1] == 4:
            below = old[:, 3:] / white * (1 - opacity)
            alpha = opacity + below
            blended = np.hstack([(new * opacity + old[:, :3] * below) / alpha, alpha * white])
        else:
            blended = old + (new - old) * opacity
        part[there] = np.rint(blended).astype(samples.dtype)


class MatchedBorder:
    """Removes the colour shift of generated pixels near kept ones, in parts that are made when they are needed.

    Args:
        original: what a box shows of the picture that was sent, mode RGB; it is asked only here.
        generated: the picture that the model made, mode RGB.
        mask: 255 = replace, 0 = keep, mode L, the same size.
    """

    def __init__(self, original: Callable[[_Box], Image.Image], generated: Image.Image, mask: Image.Image) -> None:
        self._generated = generated
        self._box: _Box | None = None
        changed = mask.getbbox()
        if changed is None or mask.getextrema()[0] != 0:
            return
        left, upper, right, lower = changed
        self._box = (
            # The cells of a picture are the same in each of its parts that begins with a whole one.
            max(left - CORRECTED, 0) // _CELL * _CELL,
            max(upper - CORRECTED, 0) // _CELL * _CELL,
            min(right + CORRECTED, mask.width),
            min(lower + CORRECTED, mask.height),
        )
        left, upper, right, lower = self._box
        cells = np.empty((5, -((upper - lower) // _CELL), -((left - right) // _CELL)), np.float32)
        for part in in_rows(self._box):
            start = (part[1] - upper) // _CELL
            differences = _differences(original(part), generated.crop(part), mask.crop(part))
            cells[:, start : start + _ROWS // _CELL] = differences
        self._shift = np.empty((3, *cells.shape[1:]), np.float32)
        for start in range(0, cells.shape[1], _ROWS):
            above = min(start, _REACH)
            shift = _shift(cells[:, start - above : start + _ROWS + _REACH])
            self._shift[:, start : start + _ROWS] = shift[:, above : above + _ROWS]

    def part(self, box: _Box) -> Image.Image:
        """What a box shows of the generated picture with its shift removed.

        It is exactly the same farther than ``CORRECTED`` pixels from where the mask is 0.
        """
        if self._box is None:
            return part_of(self._generated, box)
        result = self._generated.crop(box)
        left, upper = max(box[0], self._box[0]), max(box[1], self._box[1])
        right, lower = min(box[2], self._box[2]), min(box[3], self._box[3])
        if left >= right:
            return result
        for part in in_rows((left, upper, right, lower)):
            after = _bands(self._generated.crop(part))
            matched = (after + _fine(self._shift, _relative(part, self._box))).clip(0, 255)
            bands = [Image.fromarray(band) for band in np.rint(matched).astype(np.uint8)]
            result.paste(Image.merge("RGB", bands), _relative(part, box))
        return result


def _relative(box: _Box, origin: _Box) -> _Box:
    left, upper = origin[:2]
    return box[0] - left, box[1] - upper, box[2] - left, box[3] - upper


def in_rows(box: _Box) -> list[_Box]:
    """Cut a box into parts of 64 rows, which are worked on one at a time."""
    left, upper, right, lower = box
    return [(left, start, right, min(start + _ROWS, lower)) for start in range(upper, lower, _ROWS)]


def _differences(original: Image.Image, generated: Image.Image, mask: Image.Image) -> _Floats:
    """What the kept pixels say of the colour shift, averaged over cells.

    Returns:
        (5, height, width) in cells: how many pixels are kept, how many of them are plausible, as shares, and for each
        colour the difference of these in levels.
    """
    difference, kept = _bands(original) - _bands(generated), np.asarray(mask) == 0
    plausible = kept * fade(np.abs(difference).max(axis=0), _OUTLIER)
    return np.stack([_coarse(plane) for plane in (kept, plausible, *(band * plausible for band in difference))])


def _shift(cells: _Floats) -> _Floats:
    """Estimate the colour shift from ``_differences``: (3, height, width) in cells, in levels."""
    near, trusted, *shifts = map(_blur, cells)
    shift: _Floats = np.stack(shifts)
    shift /= np.maximum(trusted, _TINY)
    shift *= fade(np.abs(shift).max(axis=0), _SHIFT)
    shift *= trusted / np.maximum(near, _TINY)  # weaker where most pixels were ignored
    shift *= fade(ndimage.distance_transform_edt(cells[0] == 0), _FALLOFF)
    return shift


def _bands(image: Image.Image) -> _Floats:
    """Split an RGB image, (3, height, width)."""
    return np.stack([np.asarray(band, np.float32) for band in image.split()])


def fade(values: npt.NDArray[np.float32], limits: tuple[float, float]) -> _Floats:
    """Fall smoothly from 1 at the first limit to 0 at the second."""
    full, none = limits
    t = ((none - values) / (none - full)).clip(0, 1)
    faded: _Floats = (t * t * (3 - 2 * t)).astype(np.float32)
    return faded


def _blur(cells: _Floats) -> _Floats:
    blurred: _Floats = ndimage.gaussian_filter(cells, _SIGMA, truncate=_TRUNCATED, mode="constant")
    return blurred


def _coarse(pixels: npt.NDArray[np.generic]) -> _Floats:
    """Average over the cells of the grid."""
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).reduce(_CELL))


def _fine(cells: _Floats, pixels: _Box) -> _Floats:
    """Interpolate between the centres of cells (3, height, width), for a box of pixels."""
    left, upper, right, lower = pixels
    box, size = (left / _CELL, upper / _CELL, right / _CELL, lower / _CELL), (right - left, lower - upper)
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box=box) for plane in cells]
    return np.stack([np.asarray(plane) for plane in planes])
