"""References at the sizes at which models see them, as diffusers' pipelines bring them there."""

import math
from collections.abc import Sequence

from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sd_api.generation.abilities import MEGAPIXEL
from sd_api.generation.operation import MIN_SIDE
from sd_api.imaging.sizing import pad


def of_nearest_shape(image: Image.Image, sizes: Sequence[tuple[int, int]]) -> Image.Image:
    """Stretched to the size whose shape is the nearest.

    Args:
        image: The reference.
        sizes: Widths and heights.
    """
    shape = image.width / image.height
    _, width, height = min((abs(shape - width / height), width, height) for width, height in sizes)
    resized: Image.Image = VaeImageProcessor().resize(image, height, width)
    return resized


def in_whole_cells(image: Image.Image, multiple: int) -> Image.Image:
    """Reduced to a million pixels, and cut to a multiple of pixels on both sides, around its middle."""
    image = pad(image, (max(image.width, MIN_SIDE), max(image.height, MIN_SIDE)))
    if image.width * image.height > MEGAPIXEL:
        scale = math.sqrt(MEGAPIXEL / (image.width * image.height))
        size = max(int(image.width * scale), multiple), max(int(image.height * scale), multiple)
        image = image.resize(size, Image.Resampling.LANCZOS)
    width, height = image.width // multiple * multiple, image.height // multiple * multiple
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, upper, left + width, upper + height))
