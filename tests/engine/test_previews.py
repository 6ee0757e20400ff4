"""Previews look like the picture that is being made."""

import gc
import time
import weakref
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler
from pictures import photograph
from PIL import Image
from requested import request
from running import serve
from tiny_families import sd
from tiny_model import make_vae

from sd_api.engine import previews
from sd_api.jobs.job import Job
from sd_api.models.autoencoder import encode_pixels
from sd_api.models.components import Parts
from sd_api.models.families import latents
from sd_api.models.families.latent_previews import latent_preview, predicted_original
from sd_api.models.families.sd import StableDiffusion
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("scheduler_class", [DDIMScheduler, EulerDiscreteScheduler])
def test_the_original_is_found_in_noise_that_is_known(scheduler_class: Any, prediction_type: str) -> None:
    scheduler = scheduler_class(prediction_type=prediction_type, beta_schedule="scaled_linear")
    scheduler.set_timesteps(10)
    original, noise = torch.randn(2, 1, 4, 8, 8)
    timestep = scheduler.timesteps[4]
    sample = scheduler.add_noise(original, noise, timestep[None])
    velocity = PNDMScheduler(beta_schedule="scaled_linear")  # has no get_velocity, but the same alphas
    alpha_squared = velocity.alphas_cumprod[int(timestep)]
    output = {
        "epsilon": noise,
        "sample": original,
        "v_prediction": alpha_squared**0.5 * noise - (1 - alpha_squared) ** 0.5 * original,
    }[prediction_type]
    assert torch.allclose(predicted_original(scheduler, output, timestep, sample), original, atol=1e-3)


class Watched(Job):
    """A job whose previews are asked for all the time."""

    def __init__(self, steps: int = 6, **fields: Any) -> None:
        super().__init__(request(steps=steps, **fields))
        self.shown: list[Image.Image] = []

    @property
    def preview_wanted(self) -> bool:
        return True

    def show(self, preview: bytes) -> None:
        self.shown.append(Image.open(BytesIO(preview)))


def test_a_watched_job_is_shown_its_steps_and_gets_the_same_picture(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "INTERVAL", 0.0)
    engine = build_engine(make_settings())
    watched, other = Watched(), Job(request(steps=6))
    serve(engine, [watched])
    serve(engine, [other])
    assert watched.result() == other.result()
    assert len(watched.shown) >= 4
    assert {picture.size for picture in watched.shown} == {(8, 8)}
    canvas, mask = photograph(200, 72), Image.new("L", (200, 72))
    mask.paste(255, (150, 8, 170, 28))
    part = Watched(image=canvas, mask=mask, strength=1.0, inpaint_area="masked", context=22)
    serve(engine, [part])
    one = part.spec.for_model(engine.status().abilities[None]).plan.regions[0].passes[0]
    left, upper, right, lower = one.box
    assert {picture.info["Region"] for picture in part.shown} == {f"{left},{upper},{right - left},{lower - upper}"}


def test_there_are_a_few_in_a_second_and_none_for_who_does_not_look(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def counted(*call: Any) -> torch.Tensor:
        made.append(call)
        return predicted_original(*call)

    monkeypatch.setattr(latents, "predicted_original", counted)
    engine = build_engine(make_settings())
    serve(engine, [Job(request(steps=10))])
    assert made == []
    watched = Watched(steps=40)
    started = time.monotonic()
    serve(engine, [watched])
    assert 1 <= len(made) <= 1 + (time.monotonic() - started) / previews.INTERVAL
    assert len(watched.shown) == len(made)


def test_the_map_gives_back_plain_colours(make_settings: Callable[..., Settings]) -> None:
    engine: Any = build_engine(make_settings(model=str(BUILTIN_MODEL)))
    base = engine._library.get(None).parts.pipeline
    colour = torch.tensor([0.9, -0.6, -0.2])
    with torch.inference_mode():
        latents = encode_pixels(base.vae, colour[None, :, None, None].expand(1, 3, 128, 128))
        picture = latent_preview(base.vae, base.vae_scale_factor, latents[0])
    seen = np.asarray(picture, float)[2:-2, 2:-2].mean((0, 1)) / 127.5 - 1
    assert np.abs(seen - colour.numpy()).max() < 0.25


def test_the_map_keeps_no_autoencoder_in_memory() -> None:
    vae = make_vae()
    gone = weakref.ref(vae)
    with torch.inference_mode():
        latent_preview(vae, 8, torch.zeros(4, 8, 8))
    del vae
    gc.collect()
    assert gone() is None


def test_the_autoencoder_is_on_the_device_for_the_first_preview_only() -> None:
    placed: list[str] = []
    pipeline = sd()
    parts = Parts(pipeline, torch.device("cpu"), lambda components: placed.extend(part.name for part in components))
    family, spec = StableDiffusion(), request(steps=2)
    with torch.inference_mode():
        row = family.start(parts, spec.operation, spec.pictures[0], (64, 64), family.encode(parts, spec.operation))
        (prediction,) = family.predict(parts, [row])
        placed.clear()
        for _ in range(2):
            family.preview(parts, row, prediction)
    assert placed == ["vae"]
