"""Small pictures for the tests, and the way in which a client sends and reads them."""

import base64
import io

import numpy as np
from PIL import Image

from sd_api.imaging.blending import MatchedBorder


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with soft shapes and some noise, as a photograph has them."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(pixels + generator.integers(-3, 4, pixels.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def match_border(original: Image.Image, generated: Image.Image, mask: Image.Image) -> Image.Image:
    """A generated picture with its shift of colour near kept pixels removed, in one piece."""
    return MatchedBorder(original.crop, generated, mask).part((0, 0, *generated.size))


def composite(original: Image.Image, generated: Image.Image, mask: Image.Image) -> Image.Image:
    """What an edit shows of what a model has made of the whole image."""
    return Image.composite(match_border(original, generated, mask), original, mask)


def half_mask(width: int, height: int) -> Image.Image:
    """White on the right half: replace it."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (width // 2, 0, width, height))
    return mask


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def to_base64(image: Image.Image) -> str:
    """What a client puts into a form."""
    return base64.b64encode(png(image)).decode()


def from_base64(text: str) -> Image.Image:
    """What a client makes of an answer."""
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    assert image.format == "PNG"
    image.load()
    return image


def from_png(data: bytes) -> Image.Image:
    """The picture in a PNG file."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
