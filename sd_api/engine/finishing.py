"""From the model's picture to the answer's: its size, what a mask keeps, how it was made, as PNG."""

from PIL import Image

from sd_api.engine.batch import Picture
from sd_api.generation.metadata import parameters_text
from sd_api.generation.result import GeneratedImage
from sd_api.imaging.blending import composite
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.sizing import crop


def finish(picture: Picture, image: Image.Image, *, nsfw: bool, scheduler: str, model: str) -> GeneratedImage:
    """Take the padding off, put back what the mask keeps, and encode; a flagged picture stays black all over.

    Args:
        picture: what was asked for.
        image: what the model made of it.
        nsfw: whether it was flagged.
        scheduler: the name of the one that ran.
        model: the model's label.
    """
    request = picture.request
    image = crop(image, (request.width, request.height))
    if request.init_image is not None:
        if request.mask_image is not None and not nsfw:
            image = composite(request.init_image, image, request.mask_image)
        if profile := request.init_image.info.get("icc_profile"):
            image.info["icc_profile"] = profile
    parameters = parameters_text(request, seed=picture.seed, scheduler=scheduler, model=model)
    return GeneratedImage(encode_png(image, parameters=parameters), picture.seed, nsfw)
