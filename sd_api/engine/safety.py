"""The safety filter looks at finished pictures, whichever model made them."""

from collections.abc import Sequence

import torch
from PIL import Image

from sd_api.models.safety import SafetyFilter


def filtered(
    safety: SafetyFilter, images: Sequence[Image.Image], device: torch.device
) -> tuple[list[Image.Image], list[bool]]:
    """Replace flagged pictures by black ones.

    Args:
        safety: The filter, its checker on the device.
        images: Mode RGB.
        device: Where the checker runs.

    Returns:
        The pictures, and which of them were flagged.
    """
    pixels = safety.feature_extractor(list(images), return_tensors="pt").pixel_values
    # The checker blackens what it is given along with them; the flags are all that is needed.
    unused = torch.zeros(len(images), 1)
    _, flags = safety.checker(clip_input=pixels.to(device, safety.checker.dtype), images=unused)
    shown = [Image.new("RGB", image.size) if flag else image for image, flag in zip(images, flags, strict=True)]
    return shown, [bool(flag) for flag in flags]
