"""Every scheduler that a request may name exists and draws, in every mode."""

from base64 import b64decode
from inspect import signature
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, PNDMScheduler
from flask.testing import FlaskClient
from pictures import from_png, half_mask, photograph, to_base64
from tiny_model import tiny_model

from sd_api.generation.schedulers import KARRAS, SCHEDULERS
from sd_api.models.schedulers import make_scheduler, scheduler_name

IMAGES = {"init_image": to_base64(photograph(64, 64)), "mask_image": to_base64(half_mask(64, 64))}
FORM = {"prompt": "a dog", "num_inference_steps": 3, "seed": 5, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def own() -> Any:
    return PNDMScheduler.from_pretrained(tiny_model(), subfolder="scheduler")


@pytest.mark.parametrize("path", ["/txt2img", "/img2img", "/masking"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_draws_in_every_mode(client: FlaskClient, name: str, path: str) -> None:
    answer = client.post(path, data=FORM | IMAGES | {"scheduler": name}).get_json()
    assert answer["status"] == "success", answer


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_keeps_the_models_noise_schedule_and_its_name(own: Any, name: str) -> None:
    made = make_scheduler(name, own)
    assert made.config.beta_schedule == own.config.beta_schedule
    assert made.config.beta_start == own.config.beta_start
    assert scheduler_name(made) == name
    assert SCHEDULERS[name].takes_eta == ("eta" in signature(made.step).parameters)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_karras_sigmas_are_used_where_they_are_named_and_nowhere_else(own: Any, name: str) -> None:
    other = DPMSolverMultistepScheduler.from_config(own.config, use_karras_sigmas=SCHEDULERS[name].schedule != KARRAS)
    made = make_scheduler(name, other)
    made.set_timesteps(10)
    if not hasattr(made, "sigmas"):
        return
    sigmas = made.sigmas[made.sigmas > 0].double().unique().flip(0)
    # The sigmas of arXiv:2206.00364 are evenly spaced in their seventh root.
    roots = sigmas ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff().mean(), rtol=0.01) == name.endswith("karras")


def test_each_run_has_a_scheduler_of_its_own(own: Any) -> None:
    assert make_scheduler(None, own) is not own
    assert type(make_scheduler(None, own)) is type(own)
    assert scheduler_name(own) == "plms"


def test_a_scheduler_that_no_request_may_name_is_called_by_its_class() -> None:
    assert scheduler_name(DDPMScheduler()) == "DDPMScheduler"


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_no_more_steps_are_made_than_a_distillation_has(client: FlaskClient, name: str) -> None:
    form = FORM | IMAGES | {"scheduler": name, "strength": 0.06}
    many, most = (client.post("/img2img", data=form | {"num_inference_steps": n}).get_json() for n in (150, 50))
    one, other = (from_png(b64decode(answer["images"][0]["base64"])) for answer in (many, most))
    assert one.tobytes() == other.tobytes()
    assert "steps: there are 50 steps to choose from, so 50 were made." in many["warnings"]


def test_schedules_for_few_steps_begin_with_the_noisiest(own: Any) -> None:
    for name in ("euler-trailing", "euler-a-trailing", "lcm", "tcd"):
        made = make_scheduler(name, own)
        made.set_timesteps(4)
        assert made.timesteps[0] == 999, name
