"""Colours of a document with an ICC profile, and those of sRGB, in which models see and draw."""

import io
from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageCms

# Levels of 255 by which colours may differ in a profile that counts as sRGB.
_ALIKE = 1

# Levels of each channel in the colours that are compared.
_SAMPLES = range(0, 256, 51)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert what belongs to a document, for a model.

    Args:
        image: Mode RGB, in the document's colours.
        profile: The document's ICC profile; None where it has none.

    Returns:
        An image with an empty ``info``; the same image where the document is in sRGB, has no profile or a damaged one.
    """
    return _converted(image, profile, 0)


def from_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert what a model has drawn, for a document; for the arguments and the result see ``to_srgb``."""
    return _converted(image, profile, 1)


def _converted(image: Image.Image, profile: bytes | None, direction: int) -> Image.Image:
    transforms = _transforms(profile) if profile else None
    if transforms is None:
        return image
    converted = transforms[direction].apply(image)
    converted.info = {}
    return converted


# A profile may have 4 MiB, and building its transforms takes some milliseconds.
@lru_cache(maxsize=8)
def _transforms(profile: bytes) -> tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None:
    """From a profile to sRGB and back; None where there is nothing to convert, or no way back."""
    try:
        document, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        there, back = _transform(document, srgb), _transform(srgb, document)
    except (ImageCms.PyCMSError, OSError):
        return None
    colours = np.array([list(product(_SAMPLES, repeat=3))], np.uint8)
    seen = np.asarray(there.apply(Image.fromarray(colours)))
    return None if np.abs(seen.astype(np.int16) - colours).max() <= _ALIKE else (there, back)


def _transform(source: object, target: object) -> ImageCms.ImageCmsTransform:
    # Relative with black point compensation: white stays white, and black stays black.
    return ImageCms.buildTransform(
        source,  # type: ignore[arg-type]
        target,  # type: ignore[arg-type]
        "RGB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
