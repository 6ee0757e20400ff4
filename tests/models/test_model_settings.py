"""What the configuration says of a model: validated with its place, and what requests get that do not say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from tiny_model import tiny_model

from sd_api.app import create_app
from sd_api.errors import ConfigurationError
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits, Settings
from sd_api.starting import read_settings
from sd_api.wiring import build_services

CUSTOM = {"model_path": str(tiny_model()), "ui_label": "Few steps", "url_path": "few"}
FEW = {"steps": 2, "guidance_scale": 1.5, "scheduler": "DPM++ 2M Karras", "clip_skip": 2}


def faults(tmp_path: Path, **custom: Any) -> list[str]:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model": str(tiny_model()), "custom_models": [CUSTOM | custom]}), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_settings(file, {}, demo=False)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        ({"steps": 0}, "custom_models[0].steps: 0 came, but"),
        ({"steps": "4"}, 'custom_models[0].steps: "4" came, but it should be a whole number, without quotes'),
        ({"guidance_scale": 101}, "custom_models[0].guidance_scale: 101 came, but"),
        ({"guidance_scale": "7"}, 'guidance_scale: "7" came, but it should be a number, without quotes'),
        ({"clip_skip": 13}, "custom_models[0].clip_skip: 13 came, but"),
        ({"scheduler": "best"}, 'scheduler: "best" came, but it should be the name of a scheduler, such as euler-a'),
        ({"prediction_type": "v"}, "custom_models[0].prediction_type: "),
        ({"dtype": "fp8"}, "custom_models[0].dtype: "),
        ({"quantize": "int4"}, "custom_models[0].quantize: "),
        ({"vae": "/nowhere/vae.safetensors"}, "custom_models[0].vae: the file /nowhere/vae.safetensors does not exist"),
        ({"text_encoders": ["/nowhere/t5.safetensors"]}, "text_encoders[0]: the file /nowhere/t5.safetensors does not"),
        ({"guidance": 7}, "this key is unknown; did you mean guidance_scale?"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(custom: dict[str, Any], expected: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, **custom)
    assert fault.startswith("config.json, line 1, column ")
    assert expected in fault


def test_the_main_models_settings_have_a_section_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    content = {"model": str(tiny_model()), "model_settings": FEW}
    file.write_text(json.dumps(content), encoding="utf-8")
    settings = read_settings(file, {}, demo=False)
    # As a request would spell it.
    assert settings.model_settings.scheduler == "dpm++-karras"
    file.write_text(json.dumps(content | {"model_settings": {"step": 4}}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"model_settings\.step: this key is unknown; did you mean steps\?"):
        read_settings(file, {}, demo=False)


@pytest.fixture
def client(make_settings: Callable[..., Settings]) -> Any:
    few = FEW | {"scheduler": "dpm++-karras"}
    settings = make_settings(custom_models=[CUSTOM | few])
    services = build_services(settings)
    app = create_app(settings, services)
    services.start()
    yield app.test_client()
    assert services.stop(timeout=60)


def parameters(client: FlaskClient, **fields: Any) -> str:
    form = {"prompt": "a", "width": 64, "height": 64, "safety_checker": "false", "seed": 1, **fields}
    answer = client.post("/custom/few", data=form, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data().decode("latin-1")


def test_requests_that_do_not_say_get_what_the_model_wants(client: FlaskClient) -> None:
    text = parameters(client, safety_checker="true")
    assert "Steps: 2, Sampler: DPM++ 2M" in text
    assert "CFG scale: 1.5" in text
    assert "Clip skip: 2" in text
    text = parameters(client, safety_checker="true", num_inference_steps=1, guidance_scale=3)
    assert "Steps: 1, Sampler: DPM++ 2M" in text
    assert "CFG scale: 3" in text
    (_, few) = client.get("/models").get_json()["models"]
    assert few["defaults"] == {
        "num_inference_steps": 2,
        "guidance_scale": 1.5,
        "scheduler": "dpm++-karras",
        "clip_skip": 2,
    }


def spec(**fields: Any) -> JobSpec:
    made = TextToImage(prompt="a", steps=20, guidance=7.5, width=64, height=64, limits=Limits())
    return JobSpec(operation=made, seeds=(1,), limits=Limits(), **fields)


def test_only_what_is_left_open_follows_the_model() -> None:
    able = ModelAbilities(modes=("txt2img",), size_multiple=8, native_size=512, defaults={"steps": 4, "guidance": 0.0})
    settled = spec(left_open=("steps", "scheduler")).for_model(able)
    assert (settled.operation.steps, settled.operation.guidance) == (4, 7.5)
    assert settled.chosen == {"steps": 4}
    assert spec().for_model(able).chosen == {}
    assert settled.for_model(able) is settled
