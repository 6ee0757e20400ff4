"""A client's picture, as base64 text or as bytes, to an upright image.

Every exception that Pillow raises on damaged or hostile data is translated here, in one place.
"""

import contextlib
import io
import re
from collections.abc import Callable

from PIL import Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sd_api.errors import InvalidField, OutOfLimits, OutOfMemory, ServerError
from sd_api.imaging.base64_text import decode_base64
from sd_api.imaging.colour import to_mask, to_rgb

# The readers are called directly, not through Image.open: that one warns about pictures above a
# process-wide size of its own before the caller's limit can be compared.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"\xff\xd8\xff": JpegImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"II\*\0|MM\0\*|II\+\0|MM\0\+": TiffImageFile,
    rb"BM": BmpImageFile,
    rb"GIF8[79]a": GifImageFile,
}


_NAMES = [str(reader.format) for reader in _READERS.values()]
FORMATS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"


def media_type_of(data: bytes) -> str | None:
    """The media type of a file in one of ``FORMATS``, such as ``image/png``, by its first bytes; None for others."""
    reader = _reader(data)
    return None if reader is None else Image.MIME[str(reader.format)]


def decode_image(field: str, text: str, *, max_pixels: int) -> Image.Image:
    """Read a picture from base64 text; see ``decode_base64`` and ``read_image``."""
    return read_image(field, decode_base64(field, text), max_pixels=max_pixels)


def decode_mask(field: str, text: str, *, max_pixels: int) -> Image.Image:
    """Read a mask from base64 text; see ``decode_base64`` and ``read_mask``."""
    return read_mask(field, decode_base64(field, text), max_pixels=max_pixels)


def read_image(field: str, data: bytes, *, max_pixels: int) -> Image.Image:
    """Read a picture from the bytes of a PNG, JPEG, WEBP, TIFF, BMP or GIF file.

    Args:
        field: name of the request's field, for error messages.
        data: the file; of an animation, the first frame counts.
        max_pixels: most pixels (width x height) that the picture may have, checked before they are decoded.

    Returns:
        The picture as ``to_rgb`` describes it, turned upright as its EXIF orientation says.

    Raises:
        InvalidField: not a picture, or a damaged one.
        OutOfLimits: more than ``max_pixels``.
    """
    return _read(field, data, max_pixels, to_rgb)


def read_mask(field: str, data: bytes, *, max_pixels: int) -> Image.Image:
    """Read a mask from the bytes of a picture file.

    Args:
        field: name of the request's field, for error messages.
        data: the file, as for ``read_image``.
        max_pixels: most pixels that the mask may have.

    Returns:
        The mask as ``to_mask`` describes it, mode L, 255 = replace and 0 = keep.

    Raises:
        InvalidField: not a picture, or a damaged one.
        OutOfLimits: more than ``max_pixels``.
    """
    return _read(field, data, max_pixels, to_mask)


def _reader(data: bytes) -> type[ImageFile.ImageFile] | None:
    return next((reader for start, reader in _READERS.items() if re.match(start, data, re.DOTALL)), None)


def _read(field: str, data: bytes, max_pixels: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    reader = _reader(data)
    if reader is None:
        raise InvalidField(field, f"is not a picture that this server can read; send {FORMATS}")
    try:
        image = reader(io.BytesIO(data))
        if image.width * image.height > max_pixels:
            raise OutOfLimits(
                field,
                f"has {image.width} x {image.height} pixels, {image.width * image.height:,} in all; "
                f"at most {max_pixels:,} are allowed",
            )
        image.load()
        # In place, so that the pixels are turned even where the rest of the EXIF data is damaged.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
        return convert(image)
    except ServerError:
        raise
    except MemoryError:
        raise OutOfMemory(f"There is not enough memory to read {field}; send a smaller picture.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise OutOfLimits(field, f"has more than the {max_pixels:,} pixels that are allowed") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InvalidField(field, f"is a {reader.format} file that cannot be read: {reason}") from error
