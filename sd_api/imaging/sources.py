"""A picture file whose header is read and whose pixels are not, so that its size is judged before work is done."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageFile

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
    """A picture file that is open.

    Attributes:
        size: width and height in pixels, as the header says.
        load: decodes the pixels and turns them upright; raises any exception on damaged data.
    """

    size: tuple[int, int]
    load: Callable[[], Image.Image]


def pillow_source(reader: type[ImageFile.ImageFile], data: bytes) -> Source:
    """The source that one of Pillow's readers makes of a file.

    Readers are called directly, not through ``Image.open``: that one guesses among all formats, and warns about
    pictures above a process-wide size of its own before the caller's limit can be compared.
    """
    image = reader(io.BytesIO(data))

    def load() -> Image.Image:
        image.load()
        if len(image.info.get("icc_profile") or b"") > LARGEST_PROFILE:
            del image.info["icc_profile"]
        return upright(image, _orientation(image))

    return Source(image.size, load)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Turn a loaded picture as its EXIF orientation, 1 to 8, says; others leave it as it is."""
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    turned.format = image.format
    return turned


def _orientation(image: Image.Image) -> int | None:
    if len(image.info.get("exif") or b"") > LARGEST_EXIF:
        return None
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data does not cost the picture
        return None
    return orientation if isinstance(orientation, int) else None
