"""From a request to the arguments of a diffusers pipeline."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from sd_api.generation.limits import MIN_SIDE
from sd_api.generation.request import GenerationRequest
from sd_api.imaging.sizing import pad, padded_size


def pipeline_arguments(request: GenerationRequest, seeds: Sequence[int], size_multiple: int) -> dict[str, Any]:
    """The arguments for one pass that makes a picture for each of ``seeds``.

    Images and prompts are repeated, rather than asking for several images of one prompt, so
    that each picture's whole use of randomness, the encoding of the initial image included,
    comes from its own generator: it is then the same alone and in a batch.

    Args:
        request: what to make.
        seeds: those of this pass, a part of the request's.
        size_multiple: pixels; the size is padded up to a multiple of it.
    """
    count = len(seeds)
    width, height = padded_size((request.width, request.height), multiple=size_multiple, minimum=MIN_SIDE)
    arguments: dict[str, Any] = {
        "prompt": [request.prompt] * count,
        # An empty one and none are the same to Stable Diffusion 1; for SDXL, none gives the zeroed embedding that
        # its pipeline uses by default.
        "negative_prompt": [request.negative_prompt] * count if request.negative_prompt else None,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "eta": request.eta,
        # On the CPU whatever the device is, so that a seed gives the same noise everywhere.
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
    }

    def padded(image: Image.Image) -> list[Image.Image]:
        return [pad(image, (width, height))] * count

    if request.init_image is not None:
        arguments |= {"image": padded(request.init_image), "strength": request.strength}
    if request.mask_image is not None:
        arguments["mask_image"] = padded(request.mask_image)
    if request.mode != "img2img":
        # Image to image takes its size from the image, and knows no such arguments.
        arguments |= {"width": width, "height": height}
    return arguments
