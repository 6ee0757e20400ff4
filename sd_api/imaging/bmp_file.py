"""BMP files, whose alpha Windows leaves empty where the picture is opaque."""

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from sd_api.imaging.sources import Source, pillow_source


def open_bmp(data: bytes) -> Source:
    """Open a BMP file; one whose alpha is 0 everywhere is opaque, as what is copied to the clipboard is."""
    source = pillow_source(BmpImageFile, data)

    def load() -> Image.Image:
        image = source.load()
        has_no_alpha = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
        return image.convert("RGB") if has_no_alpha else image

    return Source(source.size, load, may_be_transparent=source.may_be_transparent)
