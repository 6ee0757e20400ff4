"""A picture file whose header is read and whose pixels are not, so that its size is judged before work is done."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile

from sd_api.imaging.samples import Array

LARGEST_PROFILE = 4 * 1024 * 1024  # bytes of an ICC profile; larger ones are ignored
LARGEST_EXIF = 512 * 1024  # bytes of EXIF data, whose values cost a thousand times their size to unpack

# What turns a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Source:
    """A picture file that is open; it is decoded once, by one of the two functions.

    Attributes:
        size: width and height in pixels, as the header says.
        load: decodes the pixels and turns them upright; raises any exception on damaged data.
        load_deep: the same in 16 bits, as ``samples_of`` gives them; None for files of other depths and for colours
            that are not kept as they are.
        may_be_transparent: whether the header leaves that open.
        pixel_bytes: bytes of one pixel with all samples that are unpacked, as the header says.
        decoder_bytes: bytes that the decoder takes for one pixel at its peak, the image that it makes included, as
            measured.
    """

    size: tuple[int, int]
    load: Callable[[], Image.Image]
    load_deep: Callable[[], Array] | None = None
    may_be_transparent: bool = True
    pixel_bytes: int = 4
    decoder_bytes: int = 4


def pillow_source(reader: type[ImageFile.ImageFile], data: bytes, decoder_bytes: int = 4) -> Source:
    """The source that one of Pillow's readers makes of a file.

    Readers are called directly, not through ``Image.open``: that one guesses among all formats, and warns about
    pictures above a process-wide size of its own before the caller's limit can be compared.
    """
    image = reader(io.BytesIO(data))

    def load() -> Image.Image:
        image.load()
        if len(image.info.get("icc_profile") or b"") > LARGEST_PROFILE:
            del image.info["icc_profile"]
        return upright(image, orientation_of(image))

    return Source(image.size, load, may_be_transparent=image.has_transparency_data, decoder_bytes=decoder_bytes)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Turn a loaded picture as its EXIF orientation, 1 to 8, says; others leave it as it is."""
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.format = image.format
    return turned


def upright_samples(samples: Array, orientation: int | None) -> Array:
    """The same for samples (height, width, channels)."""
    if orientation not in _TURNS:
        return samples
    turned = samples.swapaxes(0, 1) if orientation >= 5 else samples
    # Numbered from 1: which of them are mirrored, upside down or both, once those from 5 on are transposed.
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(turned[:: -1 if down else 1, :: -1 if across else 1])


def orientation_of(image: Image.Image) -> int | None:
    """The EXIF orientation of an image that is open; None where it has none that can be read."""
    if len(image.info.get("exif") or b"") > LARGEST_EXIF:
        return None
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data does not cost the picture
        return None
    return orientation if isinstance(orientation, int) else None
