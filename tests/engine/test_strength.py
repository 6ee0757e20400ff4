"""However small the strength is, a step is made; without any, the image comes back and no model runs."""

from typing import Any

import pytest
import torch
from pictures import from_png, half_mask, photograph, png
from running import generate, parts, serve

from sd_api.generation.images import ImageRef
from sd_api.generation.operations import ImageToImage, Inpaint, Redrawing
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.settings import Limits

LIMITS = Limits()
IMAGE = photograph(70, 90)


def spec(operation: type[Redrawing], **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {"image": ImageRef(png(IMAGE), "image", "image", max_pixels=10**6), **changes}
    if operation is Inpaint:
        fields["mask"] = ImageRef(png(half_mask(70, 90)), "mask", "mask", max_pixels=10**6)
    made = operation(prompt="a dog", guidance=1.0, limits=LIMITS, **fields)
    return JobSpec(operation=made, seeds=(7, 8), limits=LIMITS)


@pytest.mark.parametrize("operation", [ImageToImage, Inpaint])
def test_no_strength_gives_the_image_back(engine: Any, operation: type[Redrawing]) -> None:
    calls: list[torch.nn.Module] = []
    loaded = parts(engine)
    modules = [loaded.unet, loaded.vae.encoder, loaded.vae.decoder, loaded.text_encoder]
    hooks = [module.register_forward_hook(lambda module, *_: calls.append(module)) for module in modules]
    job = Job(spec(operation, strength=0.0, steps=20))
    try:
        serve(engine, [job])
    finally:
        for hook in hooks:
            hook.remove()
    images = job.result().images
    assert not calls
    assert job.working_seconds() == 0
    assert [(image.seed, image.nsfw) for image in images] == [(7, False), (8, False)]
    for image in images:
        shown = from_png(image.png)
        assert shown.tobytes() == IMAGE.tobytes()
        assert "Denoising strength: 0," in shown.info["parameters"]


@pytest.mark.parametrize("scheduler", ["euler-a", "heun"])
@pytest.mark.parametrize(("strength", "steps"), [(0.001, 1), (0.04, 20), (1e-9, 100)])
def test_a_small_strength_makes_one_step(engine: Any, strength: float, steps: int, scheduler: str) -> None:
    calls: list[int] = []
    hook = parts(engine).unet.register_forward_hook(lambda *_: calls.append(1))
    try:
        (first, second) = generate(
            engine, spec(ImageToImage, strength=strength, steps=steps, scheduler=scheduler)
        ).images
    finally:
        hook.remove()
    assert len(calls) == 2
    assert from_png(first.png).tobytes() != from_png(second.png).tobytes()
