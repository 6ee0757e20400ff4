"""Encodes images as PNG files, and PNG files in other formats."""

import io
from typing import Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_RUN_LENGTH = 3  # zlib's Z_RLE


def encode_png(image: Image.Image, *, parameters: str | None = None) -> bytes:
    """Encode an image as an RGB PNG with its ICC profile, if it has one in ``info["icc_profile"]``.

    Args:
        image: an image of any 8-bit mode.
        parameters: the content of the ``parameters`` text chunk, which other tools read; the chunk is ``tEXt``, or
            ``iTXt`` if Latin-1 cannot encode the text.

    Returns:
        The PNG file.
    """
    chunks = PngInfo()
    if parameters is not None:
        # JSON can contain lone surrogates, which no encoding can represent.
        chunks.add_text("parameters", parameters.encode("utf-8", "replace").decode())
    png = io.BytesIO()
    # Pillow's default, a search for longer matches than runs, takes two to six times as long on
    # photographs and saves 3 % at best, because PNG's row filters leave hardly any other matches.
    # Without a copy of what is RGB already.
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    rgb.save(png, "PNG", compress_type=_RUN_LENGTH, pnginfo=chunks)
    return png.getvalue()


def convert_png(png: bytes, output: Literal["png", "jpeg", "webp"], quality: int) -> bytes:
    """Encode a PNG file in another format, with its ICC profile; a PNG stays as it is.

    Args:
        png: the file.
        output: the format.
        quality: 0 to 100, of a lossy format.

    Returns:
        The file.
    """
    if output == "png":
        return png
    converted = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        options = {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}
        image.convert("RGB").save(converted, output.upper(), quality=quality, **options)
    return converted.getvalue()
