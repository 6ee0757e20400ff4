"""Any pixel mode that Pillow loads, to the two that the models take: RGB pictures and L masks."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms

from sd_api.imaging.blocks import blocks, in_blocks

_BLACK = 8  # levels; a lossy file's black is not quite 0
_COLOURED = 1 / 8  # saturation; grey paint may be slightly warm or cold
_ROWS = 256  # that are flattened at a time


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to 8-bit RGB.

    Transparency is flattened onto white. 16-bit values are scaled, not clipped; floating-point values
    are read as 0..1, or as 0..255 where their mean is above 1. Greyscale and CMYK pixels with a
    profile of their own kind become sRGB; the profile of a picture that is RGB already is kept.

    Args:
        image: a loaded image of any mode.

    Returns:
        An image of mode RGB, which may be the same one; its ``info`` holds nothing but ``icc_profile``, and that only
        where the pixels are still the RGB values which the profile describes.
    """
    return _in_rgb(_over_white(_eight_bit(image)), image.info.get("icc_profile") or b"")


def to_rgba(image: Image.Image) -> Image.Image | None:
    """Convert a loaded image of any mode to 8-bit RGBA, with the colours of ``to_rgb`` and without flattening.

    Args:
        image: a loaded image of any mode.

    Returns:
        An image of mode RGBA with straight alpha, which may be the same one; None where the image is opaque everywhere.
    """
    image, profile = _eight_bit(image), image.info.get("icc_profile") or b""
    if not image.has_transparency_data:
        return None
    painted = _with_alpha(image)
    alpha = painted.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return None
    if image.mode == "RGBA":
        # Without a copy of a large image that is right already.
        return image
    coloured = _in_rgb(painted.convert(painted.mode.removesuffix("A")), profile)
    coloured.putalpha(alpha)
    return coloured


def _in_rgb(flat: Image.Image, profile: bytes) -> Image.Image:
    space = profile[16:20]  # where every ICC header names its colour space
    if (flat.mode, space) in {("L", b"GRAY"), ("CMYK", b"CMYK")}:
        rgb = _to_srgb(flat, profile)
    else:
        # Without a copy of a large image that is right already.
        rgb = flat if flat.mode == "RGB" else flat.convert("RGB")
    rgb.info = {"icc_profile": profile} if flat.mode == "RGB" and space == b"RGB " else {}
    return rgb


def to_mask(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to a mask: 255 = replace, 0 = keep.

    ============================================  ==================================================
    the mask image                                what is replaced
    ============================================  ==================================================
    no alpha, or alpha opaque everywhere          luminance: white = replace, black = keep; a coloured
                                                  mask is what its greyscale copy would be
    alpha with holes, some of the paint coloured  the shape: alpha, whatever the hue
    alpha with holes, all of the paint black      the shape: alpha, so that painted = replace
    alpha with holes, grey paint, some of it      the paint: alpha x luminance, so that transparent
    light                                         and black = keep, white = replace
    transparent everywhere                        nothing
    ============================================  ==================================================

    In the file of a lossy format, what is nearly black or nearly white counts as black or white.

    Args:
        image: a loaded image of any mode.

    Returns:
        An image of mode L with an empty ``info``, which may be the same one.
    """
    lossy = image.format in {"JPEG", "WEBP", "AVIF", "HEIF"}
    image = _eight_bit(image)
    if not image.has_transparency_data:
        flat = image if image.mode in ("L", "RGB") else image.convert("RGB")
        mask = flat if flat.mode == "L" else flat.convert("L")
    else:
        painted = _with_alpha(image)
        light, alpha = painted.convert("L"), painted.getchannel("A")
        if alpha.getextrema() == (255, 255):
            mask = light
        elif _is_coloured(painted) or np.asarray(light)[np.asarray(alpha) > 0].max(initial=0) <= _BLACK:
            mask = alpha
        else:
            mask = ImageChops.multiply(alpha, light)
    if lossy:
        # Its black and white are a few levels off, and would keep no pixel as it is.
        mask = mask.point([0 if level <= _BLACK else 255 if level >= 255 - _BLACK else level for level in range(256)])
    mask.info = {}
    return mask


def to_alpha(image: Image.Image) -> Image.Image:
    """The opacity of a loaded image of any mode: a new image of mode L, 255 everywhere where the file has no alpha."""
    image = _eight_bit(image)
    if not image.has_transparency_data:
        return Image.new("L", image.size, 255)
    return _with_alpha(image).getchannel("A")


def _is_coloured(painted: Image.Image) -> bool:
    """Whether any of what is visible has a hue, such as Photoshop's quick mask, which is red."""
    if painted.mode != "RGBA":
        return False
    red, green, blue, alpha = painted.split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    grey = lightest.point([max(int(level * _COLOURED), _BLACK) for level in range(256)])
    coloured = ImageChops.subtract(ImageChops.subtract(lightest, darkest), grey)
    visible = alpha.point([255 * (level > _BLACK) for level in range(256)])
    return ImageChops.multiply(coloured, visible).getbbox() is not None


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring greyscale of any other depth to mode L (LA where one value means transparent)."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        levels = scaled_floats(values, 255, np.uint8)
    else:
        levels = in_blocks(values, np.uint8, lambda part: np.rint(np.clip(part, 0, 65535) / 65535 * 255))
    grey = Image.fromarray(levels)
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def scaled_floats(values: npt.NDArray[Any], white: int, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Scale floats of any shape to 0..``white``, as whole numbers of a type.

    The mean tells which scale they have: highlights above 1 are common in 0..1 pictures, but a
    picture in 0..255 is hardly ever so dark that its mean is below 1.
    """
    mean = sum(_finite(values[part]).sum() for part in blocks(values.shape)) / values.size
    full = 255 if mean > 1 else 1
    return in_blocks(values, kind, lambda part: np.rint(np.clip(_finite(part) / full, 0, 1) * white))


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), copy=False, nan=0.0, posinf=1.0, neginf=0.0)


def _with_alpha(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGBA" else image.convert("LA" if image.mode in {"L", "LA", "La"} else "RGBA")


def _over_white(image: Image.Image) -> Image.Image:
    """Lay what is transparent over white and resolve palettes."""
    if image.has_transparency_data:
        painted = _with_alpha(image)
        flat = Image.new(painted.mode.removesuffix("A"), painted.size, "white")
        # Some rows at a time, without a further copy of a large image.
        for start in range(0, painted.height, _ROWS):
            rows = painted.crop((0, start, painted.width, min(start + _ROWS, painted.height)))
            flat.paste(rows.convert(flat.mode), (0, start), rows.getchannel("A"))
        return flat
    return image.convert("RGB") if image.mode == "P" else image


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        # Relative with black point compensation: paper white becomes 255, the darkest ink 0.
        converted = ImageCms.profileToProfile(
            image,
            io.BytesIO(profile),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:  # a damaged profile says nothing about the pixels
        converted = None
    return converted or image.convert("RGB")
