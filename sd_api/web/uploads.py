"""Pictures that clients send once, to name them in later requests."""

from PIL import Image

from sd_api.imaging.decoding import media_type_of, read_image
from sd_api.settings import Limits
from sd_api.storage.protocols import Blob, BlobStore


def store_picture(blobs: BlobStore, limits: Limits, owner: str, content: bytes, field: str) -> tuple[Blob, Image.Image]:
    """Store a picture that can be used: it is decoded completely, and the limits are checked before that.

    Args:
        blobs: where it is stored.
        limits: its pixels; the store knows those of its bytes.
        owner: whose it is.
        content: its file.
        field: the name of the field that it came in, for messages.

    Raises:
        InvalidField: it is not a picture, or a damaged one.
        OutOfLimits: it has too many pixels.
        QuotaExceeded: the images of the owner's client would exceed the quota.
        Overloaded: the images of all would exceed their limit.
    """
    blobs.check_quota(owner, len(content))
    image = read_image(field, content, max_pixels=limits.max_image_pixels)
    media_type = media_type_of(content)
    assert media_type is not None  # noqa: S101 - it has been read
    blob = blobs.make(owner, content, media_type)
    blobs.add(blob)
    return blob, image
