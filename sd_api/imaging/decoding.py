"""A client's picture, as base64 text or as bytes, to an upright image.

Every exception that a library raises on damaged or hostile data is translated here, in one place.
"""

import re
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sd_api.errors import InvalidField, OutOfLimits, OutOfMemory, ServerError
from sd_api.imaging.base64_text import decode_base64
from sd_api.imaging.bmp_file import open_bmp
from sd_api.imaging.colour import to_alpha, to_mask, to_rgb, to_rgba
from sd_api.imaging.decoded import DecodedPixels
from sd_api.imaging.heif_file import is_avif, is_heic, open_avif, open_heic
from sd_api.imaging.jpeg_file import open_jpeg
from sd_api.imaging.png_file import open_png
from sd_api.imaging.png_file import read_texts as read_png_texts
from sd_api.imaging.psd_file import open_psd
from sd_api.imaging.samples import Array
from sd_api.imaging.sources import Source, pillow_source
from sd_api.imaging.tiff_file import open_tiff


@dataclass(frozen=True)
class _Format:
    name: str
    media_type: str
    begins: Callable[[bytes], object]
    open: Callable[[bytes], Source]


def _starts(pattern: bytes) -> Callable[[bytes], object]:
    return re.compile(pattern, re.DOTALL).match


# Bytes of all samples of a file, for each pixel that an image may have: RGB and alpha of 16 bits.
_SAMPLE_BYTES = 8

# Pixels of one side, as many as the format for the largest pictures has, PSB: a row costs a pointer to it, however
# short it is.
_LONGEST_SIDE = 300_000

# One for the process, as its memory is.
_DECODED = DecodedPixels()

_FORMATS = [
    _Format("PNG", "image/png", _starts(rb"\x89PNG\r\n\x1a\n"), open_png),
    _Format("JPEG", "image/jpeg", _starts(rb"\xff\xd8\xff"), open_jpeg),
    _Format("WEBP", "image/webp", _starts(rb"RIFF....WEBP"), partial(pillow_source, WebPImageFile, decoder_bytes=16)),
    _Format("TIFF", "image/tiff", _starts(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), open_tiff),
    _Format("BMP", "image/bmp", _starts(rb"BM"), open_bmp),
    _Format("GIF", "image/gif", _starts(rb"GIF8[79]a"), partial(pillow_source, GifImageFile)),
    _Format("AVIF", "image/avif", is_avif, open_avif),
    _Format("HEIC", "image/heic", is_heic, open_heic),
    _Format("PSD", "image/vnd.adobe.photoshop", _starts(rb"8BPS"), open_psd),
]
_NAMES = [known.name for known in _FORMATS]
FORMATS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"


def media_type_of(data: bytes) -> str | None:
    """The media type of a file in one of ``FORMATS``, such as ``image/png``, by its first bytes; None for others."""
    known = _format(data)
    return None if known is None else known.media_type


def decode_image(field: str, text: str, *, max_pixels: int) -> Image.Image:
    """Read a picture from base64 text; see ``decode_base64`` and ``read_image``."""
    return read_image(field, decode_base64(field, text), max_pixels=max_pixels)


def decode_mask(field: str, text: str, *, max_pixels: int) -> Image.Image:
    """Read a mask from base64 text; see ``decode_base64`` and ``read_mask``."""
    return read_mask(field, decode_base64(field, text), max_pixels=max_pixels)


def read_image(field: str, data: bytes, *, max_pixels: int) -> Image.Image:
    """Read a picture from the bytes of a file in one of ``FORMATS``.

    Args:
        field: name of the request's field, for error messages.
        data: the file; of an animation, the first frame counts.
        max_pixels: most pixels (width x height) that the picture may have, checked before they are decoded.

    Returns:
        The picture as ``to_rgb`` describes it, turned upright as its EXIF orientation, or its container, says.

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


def read_alpha(field: str, data: bytes, *, max_pixels: int) -> Image.Image:
    """Read the opacity of a picture from the bytes of its file.

    Args:
        field: name of the request's field, for error messages.
        data: the file, as for ``read_image``.
        max_pixels: most pixels that it may have.

    Returns:
        The opacity as ``to_alpha`` describes it, mode L, 255 = opaque.

    Raises:
        InvalidField: not a picture, or a damaged one.
        OutOfLimits: more than ``max_pixels``.
    """
    return _read(field, data, max_pixels, to_alpha)


def read_samples(field: str, data: bytes, *, deep: bool) -> Image.Image | Array | None:
    """Read what ``read_image`` leaves out of a picture that it has read: its alpha and its 16-bit samples.

    Args:
        field: name of the request's field, for error messages.
        data: the file, as for ``read_image``.
        deep: whether samples of more than 8 bits are read as 16 bits, rather than as 8.

    Returns:
        A new array (height, width, 3 or 4) of uint16, or an image of mode RGBA, in the colours of ``read_image``; the
        alpha is straight. None where the picture is opaque and of 8 bits, or is read as such. It counts for the pixels
        that are decoded, but is never refused: a picture has been drawn for it.
    """
    known = _known_format(field, data)
    try:
        source = known.open(data)
        width, height = source.size
        if deep and (load_deep := source.load_deep) is not None:
            return _DECODED.count(load_deep, width * height * source.decoder_bytes)
        if not source.may_be_transparent:
            return None
        return _DECODED.count(lambda: to_rgba(source.load()), width * height * source.decoder_bytes)
    except MemoryError:
        raise OutOfMemory(f"There is not enough memory to read {field}; send a smaller picture.") from None
    except Exception as error:
        raise _unreadable(field, known, error) from error


def room_for(pixels: int, *, max_pixels: int) -> AbstractContextManager[None]:
    """Count the pixels of images that a request makes with those that are decoded, until it gives them up.

    Args:
        pixels: Of all of them together.
        max_pixels: Most pixels of one image.

    Raises:
        OutOfMemory: On entering, if the images of other requests are in memory.
    """
    return _DECODED.room(pixels, max_pixels)


def let_go(image: Image.Image, *, small: bool = False) -> bool:
    """Keep a decoded image no longer for later requests, if it is large or ``small`` is true; whether that is so."""
    return _DECODED.let_go(image, small=small)


def has_samples(data: bytes, *, deep: bool) -> bool:
    """Whether ``read_samples`` has something of a picture file that has been read before, as far as its header says."""
    known = _format(data)
    source = None if known is None else known.open(data)
    return source is not None and (source.may_be_transparent or (deep and source.load_deep is not None))


def is_deep(data: bytes) -> bool:
    """Whether ``read_samples`` has 16 bits of a picture file that has been read before."""
    known = _format(data)
    return known is not None and known.open(data).load_deep is not None


def read_texts(field: str, data: bytes) -> dict[str, str]:
    """Read the text chunks of a PNG file, by their keywords; other formats have none that programs agree on.

    Args:
        field: name of the request's field, for error messages.
        data: the file, as for ``read_image``.

    Raises:
        InvalidField: not a picture, or a damaged one.
    """
    known = _known_format(field, data)
    if known.name != "PNG":
        return {}
    try:
        return read_png_texts(data)
    except Exception as error:
        raise _unreadable(field, known, error) from error


def _format(data: bytes) -> _Format | None:
    return next((known for known in _FORMATS if known.begins(data)), None)


def _known_format(field: str, data: bytes) -> _Format:
    known = _format(data)
    if known is None:
        raise InvalidField(field, f"is not a picture that this server can read; send {FORMATS}")
    return known


def _unreadable(field: str, known: _Format, error: Exception) -> InvalidField:
    # Pillow passes on what Python says where bytes are missing.
    ended = isinstance(error.__cause__ or error, (struct.error, IndexError, EOFError))
    reason = "it is damaged or cut off" if ended else str(error).strip() or type(error).__name__
    return InvalidField(field, f"is a {known.name} file that cannot be read: {reason}")


def _read(field: str, data: bytes, max_pixels: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    known = _known_format(field, data)
    key = convert, sha256(data).digest()
    if (kept := _DECODED.find(key, max_pixels)) is not None:
        return kept
    try:
        source = known.open(data)
        width, height = source.size
        if width * height > max_pixels:
            raise OutOfLimits(
                field,
                f"has {width} x {height} pixels, {width * height:,} in all; at most {max_pixels:,} are allowed",
            )
        if max(width, height) > _LONGEST_SIDE:
            raise OutOfLimits(
                field, f"has {width} x {height} pixels; at most {_LONGEST_SIDE:,} are allowed on one side"
            )
        if (unpacked := width * height * source.pixel_bytes) > (most := _SAMPLE_BYTES * max_pixels):
            raise OutOfLimits(
                field,
                f"has {unpacked:,} bytes of samples; at most {most:,} are allowed, so save it without further channels",
            )
        # No image alone takes more than half of what all may.
        taken = min(max(unpacked, width * height * source.decoder_bytes), most)
        return _DECODED.decode(key, width * height, max_pixels, lambda: convert(source.load()), taken)
    except ServerError:
        raise
    except MemoryError:
        raise OutOfMemory(f"There is not enough memory to read {field}; send a smaller picture.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise OutOfLimits(field, f"has more than the {max_pixels:,} pixels that are allowed") from error
    except Exception as error:
        raise _unreadable(field, known, error) from error
