"""Autoencoders by name act as in a pipeline that has them, for the requests that ask for them alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from flask.testing import FlaskClient
from pictures import from_base64, photograph, to_base64
from PIL import Image
from tiny_families import remade
from tiny_model import make_vae, seed_weights, tiny_model

from sd_api.app import create_app
from sd_api.generation.metadata import read_parameters
from sd_api.models.adapters.autoencoders import MAX_KEPT
from sd_api.settings import Settings
from sd_api.wiring import build_services

FORM = {"prompt": "a dog", "num_inference_steps": 3, "guidance_scale": 5.0, "width": 64, "height": 64, "seed": 5}
GAINS = {"soft": 0.3, "hard": 0.7, "third": 0.4}


def other_vae(name: str, **changes: Any) -> Any:
    return seed_weights(remade(make_vae(), **changes), {"decoder.conv_out": GAINS[name], "encoder.conv_in": 2.0})


@pytest.fixture(scope="module")
def server(
    make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FlaskClient, Any]]:
    folder: Path = tmp_path_factory.mktemp("models") / "vae"
    for name in ("soft", "third"):
        other_vae(name).save_pretrained(folder / name)
    other_vae("hard").save_pretrained(folder / "made")
    (folder / "made" / "diffusion_pytorch_model.safetensors").rename(folder / "hard.safetensors")
    (folder / "made" / "config.json").unlink()
    other_vae("soft", scaling_factor=0.13025).save_pretrained(folder / "sdxl")
    other_vae("soft", latent_channels=16).save_pretrained(folder / "wide")
    (folder / "broken.safetensors").write_bytes((folder / "hard.safetensors").read_bytes()[:-9])
    settings = make_settings(models_folder=str(folder.parent))
    services = build_services(settings)
    services.start()
    yield create_app(settings, services).test_client(), services
    assert services.stop(timeout=60)


def drawn(client: FlaskClient, path: str = "/txt2img", **form: Any) -> Image.Image:
    answer = client.post(path, data=FORM | form).get_json()
    assert answer["status"] == "success", answer
    return from_base64(answer["images"][0]["base64"])


def by_hand(pipeline_class: Any, name: str | None, **arguments: Any) -> Image.Image:
    pipeline = pipeline_class.from_pretrained(tiny_model(), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if name is not None:
        pipeline.vae = other_vae(name).eval()
    left_out = {"seed", *(("width", "height") if "image" in arguments else ())}
    options = {key: value for key, value in FORM.items() if key not in left_out}
    image: Image.Image = pipeline(**options, **arguments, generator=torch.Generator("cpu").manual_seed(5)).images[0]
    return image


def same(one: Image.Image, other: Image.Image) -> bool:
    return bool((np.asarray(one) == np.asarray(other)).all())


def test_pictures_are_those_of_a_pipeline_with_it_and_others_know_nothing_of_it(server: Any) -> None:
    client, _ = server
    plain = drawn(client)
    assert same(plain, by_hand(StableDiffusionPipeline, None))
    for name in GAINS:
        picture = drawn(client, vae=name)
        assert same(picture, by_hand(StableDiffusionPipeline, name))
        assert not same(picture, plain)
        assert same(drawn(client), plain)
    # The one that was used first has left.
    assert len(GAINS) > MAX_KEPT
    assert same(drawn(client, vae="soft"), by_hand(StableDiffusionPipeline, "soft"))


def test_an_image_is_encoded_by_it(server: Any) -> None:
    client, _ = server
    image = photograph(64, 64)
    form = {"init_image": to_base64(image), "strength": 0.7}
    for name in (None, "soft", None, "hard"):
        expected = by_hand(StableDiffusionImg2ImgPipeline, name, image=image, strength=0.7)
        assert same(drawn(client, "/img2img", **form, **({"vae": name} if name else {})), expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "there are: broken, hard, sdxl, soft"),
        ("../vae/soft", "there are"),
        ("sdxl", "made for another architecture"),
        ("wide", "16 channels"),
        ("broken", "cut short or damaged"),
    ],
)
def test_what_cannot_act_is_refused(server: Any, name: str, words: str) -> None:
    client, _ = server
    for _ in range(2):
        response = client.post("/txt2img", data=FORM | {"vae": name})
        assert response.status_code == 422
        assert "vae" in response.get_json()["message"]
        assert words in response.get_json()["message"]


def test_programs_for_a1111_choose_it_by_its_name(server: Any) -> None:
    client, _ = server
    listed = [entry["model_name"] for entry in client.get("/sdapi/v1/sd-vae").get_json()]
    assert listed == client.get("/models").get_json()["vaes"] == ["broken", "hard", "sdxl", "soft", "third", "wide"]
    body = {"prompt": "a dog", "steps": 3, "cfg_scale": 5.0, "width": 64, "height": 64, "seed": 5}
    pictures = []
    for vae in ("soft", "Automatic"):
        answer = client.post("/sdapi/v1/txt2img", json=body | {"override_settings": {"sd_vae": vae}}).get_json()
        pictures.append(from_base64(answer["images"][0]))
    written = read_parameters(str(pictures[0].info["parameters"]))
    assert written is not None
    assert written.fields["vae"] == "soft"
    assert not same(*pictures)
    refused = client.post("/sdapi/v1/options", json={"sd_vae": "none such"})
    assert refused.status_code == 422
    assert "third" in str(refused.get_json())
