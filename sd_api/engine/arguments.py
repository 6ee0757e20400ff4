"""From pictures to the arguments of a diffusers pipeline."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from sd_api.engine.batch import Picture
from sd_api.engine.prompts import prompt_arguments
from sd_api.generation.limits import MIN_SIDE
from sd_api.generation.request import GenerationRequest
from sd_api.imaging.sizing import pad, padded_size
from sd_api.models.library import LoadedModel


def pipeline_arguments(model: LoadedModel, pictures: Sequence[Picture]) -> dict[str, Any]:
    """The arguments for one pass that makes ``pictures``, whose requests have the same ``batch_key``.

    Prompts and images are repeated, rather than asking for several images of one prompt, so that each picture's
    whole use of randomness, the encoding of the initial image included, comes from its own generator: it is then
    the same alone and in a batch.
    """
    request = pictures[0].request
    size = padded_size((request.width, request.height), multiple=model.size_multiple, minimum=MIN_SIDE)
    arguments: dict[str, Any] = {
        **prompt_arguments(model, pictures),
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "eta": request.eta,
        # On the CPU whatever the device is, so that a seed gives the same noise everywhere.
        "generator": [torch.Generator("cpu").manual_seed(picture.seed) for picture in pictures],
    }

    def padded(image_of: Callable[[GenerationRequest], Image.Image | None]) -> list[Image.Image]:
        images = (image_of(picture.request) for picture in pictures)
        return [pad(image, size) for image in images if image is not None]

    if request.init_image is not None:
        arguments |= {"image": padded(lambda request: request.init_image), "strength": request.strength}
    if request.mask_image is not None:
        arguments["mask_image"] = padded(lambda request: request.mask_image)
    if request.mode != "img2img":
        # Image to image takes its size from the image, and knows no such arguments.
        arguments |= {"width": size[0], "height": size[1]}
    return arguments
