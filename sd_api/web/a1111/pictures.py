"""The pictures of requests: base64 texts to files of the size and the polarity that this server works with."""

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageOps

from sd_api.errors import InvalidField
from sd_api.generation.operation import MIN_SIDE, OperationName
from sd_api.imaging.base64_text import decode_base64
from sd_api.imaging.decoding import read_alpha, read_image, read_mask
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.long_text import Text
from sd_api.imaging.sizing import contained_size, cover, fill_up, resize_mask
from sd_api.settings import Limits
from sd_api.web.a1111.forms import A1111, as_whole, own_fields

# Of a mask with alpha, what is more opaque than this is made anew.
_HALF = 128


def content_of(came: Mapping[str, Any], operation: OperationName, limits: Limits) -> Callable[[str, Any], bytes]:
    """How the images of a request are read, see ``Reading.content``: at the size that the answer will have.

    Args:
        came: The fields of the request.
        operation: What to do.
        limits: What may be asked for.
    """
    own, most = own_fields(came), limits.max_image_pixels
    keeps_size = operation == "masking" and own.inpaint_full_res
    size = None if keeps_size else _size(came, limits)

    def content(field: str, value: Any) -> bytes:
        file = picture_bytes(field, value)
        if field.startswith(("controls.", "references.")):
            # What is followed has a size of its own.
            return file
        if field == "mask":
            return mask_file(file, size, own.resize_mode, max_pixels=most)
        return file if size is None else resized_file(field, file, size, own.resize_mode, max_pixels=most)

    return content


def picture_bytes(field: str, value: Any) -> bytes:
    """The file that a field holds as base64 text or as a data: URL.

    Raises:
        InvalidField: It is something else, or the address of a picture elsewhere: this server fetches nothing.
    """
    if not isinstance(value, Text) or not value:
        raise InvalidField(field, "is no picture; send base64 text")
    if "://" in value[:20]:
        raise InvalidField(field, "is an address, and this server fetches none; send the picture as base64 text")
    return decode_base64(field, value)


def resized_file(field: str, content: bytes, size: tuple[int, int], mode: int, *, max_pixels: int) -> bytes:
    """The file of a picture at the size that was asked for; it is the same file where it has that size.

    Args:
        field: The field's name, for messages.
        content: A picture file.
        size: Width and height.
        mode: See ``AskedOfImage.resize_mode``.
        max_pixels: The most pixels that it may have.
    """
    picture = read_image(field, content, max_pixels=max_pixels)
    return content if picture.size == size else encode_png(_resized(picture, size, mode))


def mask_file(content: bytes, size: tuple[int, int] | None, mode: int, *, max_pixels: int) -> bytes:
    """The file of a mask in this server's reading.

    Args:
        content: A picture file; where it is transparent anywhere, alpha counts rather than light.
        size: Width and height of the image after it was resized; None where it was not.
        mode: See ``AskedOfImage.resize_mode``.
        max_pixels: The most pixels that it may have.
    """
    mask = read_alpha("mask", content, max_pixels=max_pixels)
    if mask.getextrema() == (255, 255):
        mask = read_mask("mask", content, max_pixels=max_pixels)
    else:
        mask = mask.point([255 * (level > _HALF) for level in range(256)])
    return encode_png(mask if size is None or size == mask.size else _resized(mask, size, mode))


def upscaled(picture: Image.Image, size: tuple[int, int], upscaler: str, *, crop: bool) -> Image.Image:
    """A picture at another size.

    Args:
        picture: Mode RGB.
        size: Width and height; without ``crop`` the picture is made as large as fits into it.
        upscaler: One of ``UPSCALERS``.
        crop: Whether it fills the size, and what exceeds it is cut off.
    """
    method = UPSCALERS[upscaler]
    if crop:
        return ImageOps.fit(picture, size, method)
    return picture.resize(contained_size(picture.size, size), method)


UPSCALERS = {
    "None": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
    "Nearest": Image.Resampling.NEAREST,
}
"""How each upscaler resizes."""


def _resized(picture: Image.Image, size: tuple[int, int], mode: int) -> Image.Image:
    if mode == 1:
        return cover(picture, size)
    if mode == 2:
        return fill_up(picture, size)
    return resize_mask(picture, size) if picture.mode == "L" else picture.resize(size, Image.Resampling.LANCZOS)


def _size(came: Mapping[str, Any], limits: Limits) -> tuple[int, int] | None:
    """Width and height of the answer; None where they are faulty, which is found with all other faults."""
    width, height = (as_whole(came.get(side, A1111.defaults[side])) for side in ("width", "height"))
    if width is None or height is None or min(width, height) < MIN_SIDE:
        return None
    return (width, height) if width <= limits.max_width and height <= limits.max_height else None
