"""The endpoint gives what diffusers gives to who loads the same directory by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    LMSDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from flask.testing import FlaskClient
from pictures import composite, from_base64, half_mask, photograph, to_base64
from PIL import Image
from tiny_model import tiny_model

from sd_api.app import create_app
from sd_api.models.device import DTYPES
from sd_api.settings import Settings
from sd_api.wiring import build_services

PROMPT = {"prompt": "a dog on a blue background", "negative_prompt": "cat"}
NUMBERS = {"num_inference_steps": 4, "guidance_scale": 6.5}
SEED = 1234


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Iterator[Any]:
    """A client of a server in one precision, and that precision for the pipeline made by hand."""
    settings = make_settings(dtype=request.param)
    services = build_services(settings)
    services.start()
    yield create_app(settings, services).test_client(), DTYPES[request.param]
    assert services.stop(timeout=60)


def by_hand(pipeline_class: Any, dtype: torch.dtype, scheduler: Any = None, **arguments: Any) -> Image.Image:
    pipeline = pipeline_class.from_pretrained(tiny_model(), dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    if dtype != torch.float32:
        # The server's layout in memory; the order of additions, and with it the last bit, depends on it.
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if scheduler is not None:
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    output = pipeline(**PROMPT, **NUMBERS, **arguments, generator=torch.Generator("cpu").manual_seed(SEED))
    image: Image.Image = output.images[0]
    return image


def from_server(client: FlaskClient, path: str, **form: Any) -> Image.Image:
    answer = client.post(path, data=PROMPT | NUMBERS | {"seed": SEED} | form).get_json()
    assert answer["status"] == "success", answer
    return from_base64(answer["images"][0]["base64"])


def assert_equal(one: Image.Image, other: Image.Image) -> None:
    assert one.size == other.size
    assert (np.asarray(one) == np.asarray(other)).all()
    # Something was drawn: a flat picture would equal another flat one.
    assert np.asarray(one).std() > 5


def test_text_to_image(precision: Any) -> None:
    client, dtype = precision
    assert_equal(
        from_server(client, "/txt2img", width=128, height=64),
        by_hand(StableDiffusionPipeline, dtype, width=128, height=64),
    )


def test_text_to_image_where_torch_draws_other_numbers_in_half_precision(precision: Any) -> None:
    """See engine/noise.py; by hand it takes noise drawn in full precision to get the same picture."""
    client, dtype = precision
    noise = torch.randn((1, 4, 104 // 8, 72 // 8), generator=torch.Generator("cpu").manual_seed(SEED))
    assert_equal(
        from_server(client, "/txt2img", width=72, height=104),
        by_hand(StableDiffusionPipeline, dtype, width=72, height=104, latents=noise.to(dtype)),
    )


@pytest.mark.parametrize(("name", "scheduler"), [("ddim", DDIMScheduler), ("k-lms", LMSDiscreteScheduler)])
def test_text_to_image_with_another_scheduler(precision: Any, name: str, scheduler: Any) -> None:
    client, dtype = precision
    assert_equal(
        from_server(client, "/txt2img", width=64, height=64, scheduler=name, eta=0.5),
        by_hand(StableDiffusionPipeline, dtype, scheduler, width=64, height=64, eta=0.5),
    )


def test_image_to_image(precision: Any) -> None:
    client, dtype = precision
    init = photograph(128, 96)
    assert_equal(
        from_server(client, "/img2img", init_image=to_base64(init), strength=0.75),
        by_hand(StableDiffusionImg2ImgPipeline, dtype, image=init, strength=0.75),
    )


def test_masking(precision: Any) -> None:
    client, dtype = precision
    init, mask = photograph(128, 96), half_mask(128, 96)
    made = by_hand(
        StableDiffusionInpaintPipeline, dtype, image=init, mask_image=mask, width=128, height=96, strength=0.75
    )
    result = from_server(client, "/masking", init_image=to_base64(init), mask_image=to_base64(mask), strength=0.75)
    assert_equal(result, composite(init, made, mask))
    assert_equal(result.crop((0, 0, 64, 96)), init.crop((0, 0, 64, 96)))


def test_masking_of_everything_is_diffusers_own_picture(precision: Any) -> None:
    client, dtype = precision
    init, mask = photograph(128, 96), Image.new("L", (128, 96), 255)
    assert_equal(
        from_server(client, "/masking", init_image=to_base64(init), mask_image=to_base64(mask), strength=1),
        by_hand(StableDiffusionInpaintPipeline, dtype, image=init, mask_image=mask, width=128, height=96, strength=1.0),
    )
