"""The grain of photographs: an autoencoder keeps shapes and loses noise, so what is drawn would show as a smooth patch.

How much there is, and what it looks like, is measured where the canvas is kept and least is to be seen; what the
drawing has by itself, where least is to be seen in it. What is laid over the drawing has the spectrum and the colours
of the canvas's grain (a Gaussian texture: B. Galerne, Y. Gousseau and J.-M. Morel, "Random Phase Textures", 2011).
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image

from sd_api.imaging.blending import ANY_LEVEL, fade, in_rows

# The side in pixels of the windows in which grain is measured, of what repeats over a canvas, and of the squares in
# which a region's mask is looked at; whole windows.
_WINDOW, _TILE, _SQUARE = 16, 256, 1024

# Windows that are looked at, at most, and the share of them that counts, because the others show things as well; and
# how many must be left.
_LOOKED_AT, _QUIET, _LEAST = 160, 0.25, 4

# Levels that are no longer a photograph's but cut off.
_CUT_OFF = (4, 251)

# The standard deviation in levels from which on grain is seen, and that of what may be a texture of the thing that was
# replaced: full effect up to the first, none from the second on.
_SEEN, _TEXTURE = 0.5, (10.0, 18.0)

Grain = npt.NDArray[np.float32]
"""(height, width, 3) levels around 0, which repeat over a canvas from its corner."""

_Box = tuple[int, int, int, int]
_Floats = npt.NDArray[np.float32]


def missing_grain(
    original: Callable[[_Box], Image.Image],
    generated: Image.Image,
    mask: Callable[[_Box], Image.Image],
) -> Grain | None:
    """The grain that a drawing lacks beside the canvas.

    Args:
        original: What a box of the region shows of the canvas, mode RGB.
        generated: What the model made of the region, mode RGB.
        mask: What a box of the region shows of its mask, mode L, 255 = replace and 0 = keep.

    Returns:
        None where no grain is missing, or where too little is kept to tell.
    """
    kept, drawn = _windows(mask, generated.size)
    seen = _pixels(original, kept)
    seen = seen[((seen > _CUT_OFF[0]) & (seen < _CUT_OFF[1])).all(axis=(1, 2))]
    there = _quietest(_without_shapes(seen))
    if len(there) < _LEAST:
        return None
    wanted = _power(there)
    # A thin mask holds no window; what the model has left of the kept canvas's grain says as much.
    has = _power(_quietest(_without_shapes(_pixels(generated.crop, drawn or kept))))
    deviation = math.sqrt(max(wanted - has, 0.0))
    (share,) = fade(np.array([deviation], np.float32), _TEXTURE)
    if share * deviation < _SEEN:
        return None
    grain: Grain = _texture(there) * np.float32(share * deviation / math.sqrt(wanted))
    return grain


def with_grain(image: Image.Image, grain: Grain | None, left: int, upper: int) -> Image.Image:
    """An image, mode RGB, with grain; the same image without.

    Args:
        image: Which lies at ``left`` and ``upper`` on the canvas.
        grain: See ``missing_grain``.
        left: In pixels.
        upper: In pixels.
    """
    if grain is None:
        return image
    result = Image.new("RGB", image.size)
    across = (left + np.arange(image.width)) % _TILE
    for rows in in_rows((0, 0, *image.size)):
        down = (upper + np.arange(rows[1], rows[3])) % _TILE
        levels = np.asarray(image.crop(rows)) + grain[down[:, None], across]
        result.paste(Image.fromarray(np.rint(levels).clip(0, 255).astype(np.uint8)), rows)
    return result


def _windows(mask: Callable[[_Box], Image.Image], size: tuple[int, int]) -> tuple[list[_Box], list[_Box]]:
    """The boxes of windows of which everything is kept, and of those of which everything is replaced."""
    kept, drawn = [], []
    for upper, left in product(range(0, size[1], _SQUARE), range(0, size[0], _SQUARE)):
        square = (left, upper, min(left + _SQUARE, size[0]), min(upper + _SQUARE, size[1]))
        # An average of pixels that are 0 or 255 is one of both only where all of them are.
        levels = np.asarray(mask(square).point(ANY_LEVEL).reduce(_WINDOW))
        whole = levels[: (square[3] - upper) // _WINDOW, : (square[2] - left) // _WINDOW]
        kept.append(np.argwhere(whole == 0) * _WINDOW + (upper, left))
        drawn.append(np.argwhere(whole == 255) * _WINDOW + (upper, left))
    return _some(np.concatenate(kept)), _some(np.concatenate(drawn))


def _some(corners: npt.NDArray[np.int64]) -> list[_Box]:
    """The boxes of windows that are spread over all of them."""
    chosen = np.linspace(0, len(corners) - 1, min(len(corners), _LOOKED_AT)).astype(int)
    return [(left, upper, left + _WINDOW, upper + _WINDOW) for upper, left in corners[chosen].tolist()]


def _pixels(source: Callable[[_Box], Image.Image], windows: list[_Box]) -> _Floats:
    """(windows, pixels, 3) levels."""
    pixels = [np.asarray(source(window), np.float32).reshape(-1, 3) for window in windows]
    return np.stack(pixels) if pixels else np.empty((0, _WINDOW**2, 3), np.float32)


def _without_shapes(windows: _Floats) -> _Floats:
    """What is left of (windows, pixels, 3) levels without the plane that is nearest to each window's."""
    rest: _Floats = windows - np.einsum("pb,qb,wqc->wpc", _planes(), _planes(), windows, optimize=True)
    return rest


@cache
def _planes() -> _Floats:
    """(pixels, 3): an orthonormal base of the planes over a window."""
    y, x = np.mgrid[:_WINDOW, :_WINDOW].reshape(2, -1) / _WINDOW
    base, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y], axis=1))
    return base.astype(np.float32)


def _quietest(windows: _Floats) -> _Floats:
    """The windows in which the least is to be seen."""
    power = (windows**2).mean(axis=(1, 2))
    return windows[np.argsort(power, kind="stable")[: math.ceil(len(windows) * _QUIET)]]


def _power(windows: _Floats) -> float:
    """The mean of the squares; 0 where there are no windows."""
    return float((windows**2).mean()) if len(windows) else 0.0


def _texture(windows: _Floats) -> Grain:
    """Grain with the windows' mean spectrum and the covariance of their colours."""
    grey = windows.mean(axis=2).reshape(-1, _WINDOW, _WINDOW)
    spectrum = (np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0)
    kernel = np.zeros((_TILE, _TILE))
    kernel[:_WINDOW, :_WINDOW] = np.fft.fftshift(np.fft.ifft2(np.sqrt(spectrum)).real)
    kernel /= np.sqrt((kernel**2).sum())
    layers = np.fft.irfft2(_noise() * np.fft.rfft2(kernel))
    covariance = np.einsum("wpc,wpd->cd", windows, windows) / (len(windows) * _WINDOW**2)
    # Of a grey picture it has no inverse.
    colours = np.linalg.cholesky(covariance + 1e-6 * np.trace(covariance) * np.eye(3))
    texture: Grain = np.einsum("cd,dyx->yxc", colours, layers).astype(np.float32)
    return texture


@cache
def _noise() -> npt.NDArray[np.complex128]:
    """The spectra of three layers of white noise; always the same, so that an edit can be repeated."""
    return np.fft.rfft2(np.random.default_rng(0).standard_normal((3, _TILE, _TILE)))
