"""The pictures of requests, as files, base64 text or data: URLs, and the links to those of answers."""

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import Any, Literal

from cryptography.fernet import Fernet, InvalidToken
from PIL import Image, ImageChops
from werkzeug.datastructures import FileStorage

from sd_api.errors import InvalidField, UnknownJob
from sd_api.generation.entries import entries_in
from sd_api.imaging.base64_text import decode_base64
from sd_api.imaging.decoding import read_alpha, read_image
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.long_text import Text
from sd_api.imaging.sizing import cover
from sd_api.jobs.results_cache import RESULT_TTL_SECONDS

Format = Literal["png", "jpeg", "webp"]


def picture_bytes(field: str, value: Any) -> bytes:
    """The file that a field holds.

    Args:
        field: Its name, for messages.
        value: A file of a form; or base64 text, a data: URL, or an object with one of these in ``image_url``.

    Raises:
        InvalidField: It is something else, or the address of a picture elsewhere: this server fetches nothing.
    """
    if isinstance(value, FileStorage):
        content: bytes = value.read()
        return content
    if isinstance(value, dict):
        value = value.get("image_url")
    if isinstance(value, dict):
        value = value.get("url")
    if not isinstance(value, Text) or not value:
        raise InvalidField(field, "is no picture; send a file, base64 text or a data: URL")
    if "://" in value[:20]:
        raise InvalidField(field, "is an address, and this server fetches none; send the picture as a data: URL")
    return decode_base64(field, value)


def reference_entries(field: str, values: list[Any]) -> list[dict[str, Any]]:
    """The entries of a field with several images, each image as the bytes of its file.

    Args:
        field: Its name, for messages.
        values: Images as ``picture_bytes`` takes them, objects with one in ``image``, or the JSON of some of these.

    Raises:
        InvalidField: See ``picture_bytes``; or a text is no JSON.
    """
    try:
        entries = entries_in([{"image": each} if _is_picture(each) else each for each in values])
    except ValueError as error:
        raise InvalidField(field, str(error)) from None
    return [
        {**entry, "image": picture_bytes(f"{field}.{number}.image", entry.get("image"))}
        for number, entry in enumerate(entries)
    ]


def _is_picture(value: Any) -> bool:
    """Whether it is an image as this dialect sends it in an object."""
    return isinstance(value, dict) and "image_url" in value


def mask_of_alpha(field: str, content: bytes, *, max_pixels: int) -> Image.Image | None:
    """The mask that this dialect's polarity means: what is transparent is replaced.

    Args:
        field: The field's name, for messages.
        content: A picture file.
        max_pixels: The most pixels that it may have.

    Returns:
        A mask of mode L, 255 where the picture is transparent; None where it is opaque everywhere.

    Raises:
        InvalidField: It is no picture, or a damaged one.
    """
    alpha = read_alpha(field, content, max_pixels=max_pixels)
    mask = ImageChops.invert(alpha)
    return None if mask.getbbox() is None else mask


def mask_file(field: str, content: bytes, size: tuple[int, int] | None, *, max_pixels: int) -> bytes:
    """The file of a mask in this server's polarity: white is replaced.

    Raises:
        InvalidField: Nothing is transparent, so nothing would be replaced.
    """
    mask = mask_of_alpha(field, content, max_pixels=max_pixels)
    if mask is None:
        raise InvalidField(field, "has no transparent pixel; what is transparent is replaced")
    return encode_png(mask if size is None else cover(mask, size))


def resized_file(field: str, content: bytes, size: tuple[int, int], *, max_pixels: int) -> bytes:
    """The file of a picture at the size that was asked for; it is the same file where it has that size.

    Another shape is filled, and what exceeds it is cut off on both sides.
    """
    picture = read_image(field, content, max_pixels=max_pixels)
    return content if picture.size == size else encode_png(cover(picture, size))


class Links:
    """Addresses of pictures, valid for as long as the results cache keeps them.

    They are encrypted, because the id of a job has its owner's address.

    Args:
        secret: The key, which all servers of a cluster share.
    """

    def __init__(self, secret: str) -> None:
        # A key of its own, 32 bytes, from the one that signs tokens.
        key = hashlib.sha256(b"openai-picture" + secret.encode()).digest()
        self._fernet = Fernet(urlsafe_b64encode(key))

    def sign(self, job_id: str, number: int, output: Format, compression: int) -> str:
        """The name of one picture of a job, in one format."""
        return self._fernet.encrypt(json.dumps([job_id, number, output, compression]).encode()).decode()

    def read(self, name: str) -> tuple[str, int, Format, int]:
        """What was signed.

        Raises:
            UnknownJob: The name is not one of this server, or it has expired.
        """
        try:
            job_id, number, output, compression = json.loads(
                self._fernet.decrypt(name.encode(), ttl=int(RESULT_TTL_SECONDS))
            )
        except InvalidToken:
            raise UnknownJob("This link is none of this server, or it has expired after an hour.") from None
        return job_id, number, output, compression
