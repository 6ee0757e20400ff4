"""What the server tells of itself: its models, its fields, who may call."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from tiny_loras import save_kohya_lora
from tiny_model import tiny_model

from sd_api.app import create_app
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.seeds import MAX_SEED
from sd_api.settings import Settings
from sd_api.wiring import build_services

FORM: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": 1, "width": 64, "height": 64}


def test_models_and_what_they_can_do(client: FlaskClient) -> None:
    client.post("/custom/my_first_model", data=FORM)
    answer = client.get("/models").get_json()
    assert answer["status"] == "success"
    main, first, other = answer["models"]
    known = {"modes": ["txt2img", "img2img", "masking"], "size_multiple": 8, "native_size": 512}
    assert known.items() <= main.items()
    assert (main["url_path"], main["requires_safety_checker"]) == (None, True)
    assert main["paths"] == {"txt2img": "/txt2img", "img2img": "/img2img", "masking": "/masking", "edit": "/edit"}
    assert first["label"] == "My First Model"
    assert known.items() <= first.items()
    assert set(first["paths"].values()) == {"/custom/my_first_model"}
    assert (other["paths"]["img2img"], other["requires_safety_checker"]) == ("/custom/folder/other", False)
    assert answer["schedulers"] == list(SCHEDULERS)


def test_what_a_model_can_do_is_null_until_it_is_loaded(make_settings: Any) -> None:
    settings = make_settings()
    services = build_services(settings)
    (model,) = create_app(settings, services).test_client().get("/models").get_json()["models"]
    assert (model["modes"], model["size_multiple"], model["native_size"]) == (None, None, None)
    services.stores.close()


def test_a_model_in_the_folders_is_offered_and_used_without_a_restart(make_settings: Any, tmp_path: Path) -> None:
    settings = make_settings(models_folder=tmp_path, any_model=False)
    services = build_services(settings)
    services.start()
    client = create_app(settings, services).test_client()
    try:
        assert len(client.get("/models").get_json()["models"]) == 1
        shutil.copytree(tiny_model(), tmp_path / "checkpoints" / "old" / "drawn")
        _, drawn = client.get("/models").get_json()["models"]
        known = {"label": "old/drawn", "url_path": "local:old/drawn", "requires_safety_checker": True, "modes": None}
        assert known.items() <= drawn.items()
        answer = client.post(drawn["paths"]["txt2img"], data=FORM)
        assert answer.status_code == 200, answer.text
        assert client.get("/models").get_json()["models"][1]["modes"] == ["txt2img", "img2img", "masking"]
        refused = client.post(drawn["paths"]["txt2img"], data=FORM | {"safety_checker": "false"})
        assert (refused.status_code, "requires_safety_checker" in refused.text) == (422, True)
        assert client.post("/custom/huggingface:owner/other", data=FORM).status_code == 404
        assert client.get("/sdapi/v1/sd-models").get_json()[1]["title"] == "old/drawn"
        override = {"override_settings": {"sd_model_checkpoint": "drawn.safetensors [abcdef12]"}}
        answer = client.post(
            "/sdapi/v1/txt2img", json={"prompt": "a", "steps": 1, "width": 64, "height": 64} | override
        )
        assert json.loads(answer.get_json()["info"])["sd_model_name"] == "old/drawn"
        assert client.get("/v1/models/local:old/drawn").status_code == 200
        shutil.rmtree(tmp_path / "checkpoints")
        assert client.post(drawn["paths"]["txt2img"], data=FORM).status_code == 404
        assert client.post("/txt2img", data=FORM).status_code == 200
    finally:
        services.stop(10)


def test_the_fields_of_the_forms_with_their_defaults_and_ranges(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/models").get_json()
    fields = answer["fields"]
    assert (
        fields["prompt"] | {"modes": ["txt2img", "img2img", "masking", "edit"], "max_length": 4000} == fields["prompt"]
    )
    width = {"modes": ["txt2img"], "default": 512, "minimum": 64, "maximum": 256, "unit": "pixels"}
    assert fields["width"] | width == fields["width"]
    strength = {"modes": ["img2img", "masking"], "default": 0.7, "minimum": 0, "maximum": 1, "control": "slider"}
    assert fields["strength"] | strength == fields["strength"]
    assert fields["seed"] | {"default": 0, "minimum": 0, "maximum": MAX_SEED} == fields["seed"]
    assert fields["mask_image"] | {"modes": ["masking"], "control": "mask"} == fields["mask_image"]
    assert fields["eta"]["acts_with"] == {"scheduler": ["ddim", "tcd"]}
    assert fields["clip_skip"]["requires"] == "clip_skip"
    assert {"default", "minimum", "max_length"}.isdisjoint(fields["init_image"])
    assert fields["wait"] == {"modes": ["txt2img", "img2img", "masking", "edit"], "default": True}
    assert answer["limits"] == settings.limits.model_dump()


@pytest.mark.parametrize("edge", ["minimum", "maximum"])
@pytest.mark.parametrize("name", ["num_inference_steps", "guidance_scale", "eta", "width", "height", "num_outputs"])
def test_what_lies_beyond_an_advertised_range_is_refused(client: FlaskClient, name: str, edge: str) -> None:
    value = client.get("/models").get_json()["fields"][name][edge] + (1 if edge == "maximum" else -1)
    response = client.post("/txt2img", data=FORM | {name: value})
    assert response.status_code == 422
    assert response.get_json()["message"].startswith(f"{name} is {value:g}")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"address": "http://127.0.0.1:1337"}, None),
        ({"address": "localhost:1337"}, None),
        ({"address": "https://localhost"}, None),
        ({"address": "http://evil.example"}, "allowed_hosts"),
        ({"address": "http://localhost:1337", "origin": "http://localhost:1337"}, None),
        ({"address": "http://localhost:1337", "origin": "https://evil.example"}, "allowed_origins"),
    ],
)
def test_who_would_be_let_in(client: FlaskClient, query: dict[str, str], words: str | None) -> None:
    answer = client.get("/access", query_string=query).get_json()
    assert answer["listens_on"] == "127.0.0.1"
    assert answer["refusal"] is None if words is None else words in answer["refusal"]


@pytest.mark.parametrize("address", ["", "http://[", "ftp://here"])
def test_what_is_no_address_is_named(client: FlaskClient, address: str) -> None:
    response = client.get("/access", query_string={"address": address})
    assert response.status_code == 400
    assert response.get_json()["message"].startswith("address is ")


def test_without_an_address_nothing_is_judged(client: FlaskClient) -> None:
    assert set(client.get("/access").get_json()) == {
        "status",
        "listens_on",
        "port",
        "allowed_hosts",
        "allowed_origins",
        "require_token",
        "share_jobs",
        "enable_signup",
        "enable_public_token",
    }


def test_the_loras_of_the_folder_are_listed_with_what_their_files_say(make_settings: Any, tmp_path: Path) -> None:
    save_kohya_lora(tmp_path / "sketch.safetensors", 768, 1, {"modelspec.trigger_phrase": "pencil sketch, grey"})
    save_kohya_lora(tmp_path / "sdxl_lightning_8step.safetensors", 2048, 1)
    counted = {"ss_tag_frequency": json.dumps({"10_ada": {"ada": 12, "hat": 3}, "5_more": {"hat": 2, "sea": 9}})}
    counted |= {"ss_output_name": "LCM of Ada", "ss_base_model_version": "sd_v1"}
    save_kohya_lora(tmp_path / "tagged.safetensors", 768, 1, counted)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    settings = make_settings(loras=str(tmp_path), embeddings=str(tmp_path))
    services = build_services(settings)
    client = create_app(settings, services).test_client()
    broken, fast, sketch, tagged = client.get("/models").get_json()["loras"]
    assert "damaged" in broken["problem"]
    assert (fast["name"], fast["architecture"]) == ("sdxl_lightning_8step", "Stable Diffusion XL")
    assert fast["hint"] == {"num_inference_steps": 8, "guidance_scale": 1.0, "scheduler": "euler-trailing"}
    assert (sketch["words"], sketch["hint"], sketch["problem"]) == (["pencil sketch", "grey"], {}, None)
    assert (tagged["words"], tagged["architecture"]) == (["ada", "sea", "hat"], "Stable Diffusion 1")
    assert tagged["hint"] == {"num_inference_steps": 4, "guidance_scale": 1.0, "scheduler": "lcm"}
    listed = client.get("/sdapi/v1/loras").get_json()
    names = [(lora["name"], lora["alias"]) for lora in listed]
    assert names == [(name, name) for name in ("sdxl_lightning_8step", "sketch")] + [("tagged", "LCM of Ada")]
    assert listed[2]["metadata"] == counted | {"ss_tag_frequency": json.loads(counted["ss_tag_frequency"])}
    assert str(tmp_path) not in str(listed)
    words = ["broken", "sdxl_lightning_8step", "sketch", "tagged"]
    assert client.get("/models").get_json()["embeddings"] == words
    assert list(client.get("/sdapi/v1/embeddings").get_json()["loaded"]) == words
    services.stores.close()
