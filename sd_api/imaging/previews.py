"""Previews: small PNG files that say themselves which part of a picture they show."""

import io

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

# The key of the text chunk with x,y,width,height in pixels of the picture.
_REGION = "Region"

Box = tuple[int, int, int, int]


def encode_preview(image: Image.Image, region: Box | None) -> bytes:
    """Encode a preview.

    Args:
        image: How the part looks.
        region: The part that it shows (left, upper, right, lower); None for the whole picture.
    """
    chunks = PngInfo()
    if region is not None:
        left, upper, right, lower = region
        chunks.add_text(_REGION, f"{left},{upper},{right - left},{lower - upper}")
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def region_of(preview: bytes) -> Box | None:
    """The part of a picture that a preview shows; None for the whole."""
    with PngImageFile(io.BytesIO(preview)) as image:
        text = image.info.get(_REGION)
    if text is None:
        return None
    left, upper, width, height = map(int, text.split(","))
    return left, upper, left + width, upper + height
