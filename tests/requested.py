"""Small jobs, for tests that care how they travel, or how they are made, rather than what they ask for."""

from typing import Any

from pictures import png
from PIL import Image

from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import ImageToImage, Inpaint, TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits

LIMITS = Limits()
_JOB = ("model", "seeds", "variation_seeds")


def request(
    prompt: str = "a dog",
    steps: int = 1,
    *,
    size: tuple[int, int] = (64, 64),
    image: Image.Image | None = None,
    mask: Image.Image | None = None,
    **fields: Any,
) -> JobSpec:
    """One picture of 64 x 64 pixels with seed 7, from text or, with images, from those."""
    job = {name: fields.pop(name) for name in _JOB if name in fields}
    common = {"prompt": prompt, "steps": steps, "guidance": 7.5, "limits": LIMITS, **fields}
    operation: Operation
    if image is None:
        operation = TextToImage(width=size[0], height=size[1], **common)
    elif mask is None:
        operation = ImageToImage(image=_ref("image", image), **common)
    else:
        operation = Inpaint(image=_ref("image", image), mask=_ref("mask", mask), **common)
    return JobSpec(operation=operation, limits=LIMITS, **{"seeds": (7,), **job})


def _ref(kind: Any, image: Image.Image) -> ImageRef:
    return ImageRef(png(image), kind, kind, LIMITS.max_image_pixels)
