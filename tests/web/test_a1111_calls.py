"""The calls that programs for A1111's API make, with their headers, types and defaults, and what they read."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pictures import from_base64, half_mask, photograph, to_base64
from PIL import Image

from sd_api.app import create_app
from sd_api.settings import Settings
from sd_api.web.a1111.forms import NO_EFFECT, REFUSED
from sd_api.wiring import Services

API = "/sdapi/v1"
SMALL = {"width": 64, "height": 64, "steps": 2}


def made(answer: Any) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [from_base64(image) for image in answer.get_json()["images"]]


def test_open_webui(client: FlaskClient) -> None:
    headers = {"Authorization": ""}
    options = client.get(f"{API}/options", headers=headers).get_json()
    titles = [model["title"] for model in client.get(f"{API}/sd-models", headers=headers).get_json()]
    assert options["sd_model_checkpoint"] == titles[0]
    options["sd_model_checkpoint"] = titles[1]
    assert client.post(f"{API}/options", json=options, headers=headers).status_code == 200
    data = SMALL | {
        "prompt": "a dog",
        "batch_size": 2,
        "negative_prompt": "",
        "cfg_scale": 7.0,
        "scheduler": "Automatic",
    }
    answer = client.post(f"{API}/txt2img", json=data, headers=headers)
    assert len(made(answer)) == 2
    assert json.loads(answer.get_json()["info"])["sd_model_name"] == titles[1]
    client.post(f"{API}/options", json={"sd_model_checkpoint": titles[0]})


def test_sillytavern(client: FlaskClient) -> None:
    headers = {"Authorization": "Basic ", "User-Agent": "node-fetch"}
    assert "forge_preset" not in client.get(f"{API}/options", headers=headers).get_json()
    names = {
        path: [entry["name"] for entry in client.get(f"{API}/{path}", headers=headers).get_json()]
        for path in ("samplers", "schedulers", "upscalers", "latent-upscale-modes")
    }
    assert names["upscalers"][0] == "None"
    assert client.get(f"{API}/sd-vae", headers=headers).get_json() == []
    asked = SMALL | {
        "url": "http://localhost:7860",
        "auth": "user:secret",
        "prompt": "a dog",
        "negative_prompt": "cat",
        "sampler_name": names["samplers"][0],
        "scheduler": names["schedulers"][0],
        "cfg_scale": 7,
        "restore_faces": False,
        "enable_hr": False,
        "hr_upscaler": "Latent",
        "hr_scale": 2,
        "hr_additional_modules": [],
        "hr_second_pass_steps": 0,
        "denoising_strength": 0.7,
        "seed": 7,
        "clip_skip": 1,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        "override_settings_restore_afterwards": True,
        "save_images": True,
        "send_images": True,
        "do_not_save_grid": False,
        "do_not_save_samples": False,
    }
    answer = client.post(f"{API}/txt2img", json=asked, headers=headers)
    assert made(answer)[0].size == (64, 64)
    assert "secret" not in answer.text
    rest = client.get(f"{API}/progress", headers=headers).get_json()
    assert (rest["progress"], rest["state"]["job_count"]) == (0, 0)
    # Without a body and without a type.
    assert client.post(f"{API}/interrupt", headers=headers).get_json() == {}


def test_auto_photoshop(client: FlaskClient) -> None:
    assert client.get("/sdapi/auto-photoshop-sd/heartbeat").get_json() == {"heartbeat": True}
    assert client.get("/user").is_json
    assert client.get("/sdapi/auto-photoshop-sd/vae/list").get_json() == []
    assert client.post("/sdapi/auto-photoshop-sd/controlnet/filter", json={"keyword": "All"}).status_code == 200
    options = client.get(f"{API}/options").get_json()
    assert {"inpainting_mask_weight", "face_restoration_model", "img2img_color_correction"} <= options.keys()
    mask = {"mask": to_base64(half_mask(96, 64)), "mask_expansion": "4", "blur": 0}
    grown = client.post("/sdapi/auto-photoshop-sd/mask/expansion/", json=mask).get_json()["mask"]
    assert from_base64(grown).convert("L").getbbox() == (44, 0, 96, 64)
    asked = SMALL | {
        "mode": "inpaint",
        "uniqueDocumentId": "8f1a",
        "selection_info": {"left": 0, "top": 0},
        "use_sharp_mask": False,
        "batch_number": 1,
        "prompt": "a dog",
        "sampler_index": "Euler a",
        "cfg_scale": 7,
        "seed": "-1",
        "n_iter": 1,
        "batch_size": 1,
        "denoising_strength": "0.7",
        "inpaint_full_res": False,
        "inpaint_full_res_padding": 32,
        "inpainting_fill": 1,
        "inpainting_mask_invert": 0,
        "mask_blur": 0,
        "init_images": [to_base64(photograph(96, 64))],
        "mask": grown,
        "styles": [],
        "alwayson_scripts": {"controlnet": {"args": [{"enabled": False, "module": "none", "model": "None"}]}},
    }
    answer = client.post(f"{API}/img2img", json=asked)
    (picture,) = made(answer)
    assert picture.size == (64, 64)
    seed = json.loads(answer.get_json()["info"])["all_seeds"][0]
    read = client.post(f"{API}/png-info", json={"image": answer.get_json()["images"][0]}).get_json()
    assert f"Seed: {seed}," in read["info"]
    assert read["parameters"]["Seed"] == str(seed)
    # A JSON type and no body.
    assert client.post(f"{API}/interrupt", content_type="application/json").status_code == 200


@pytest.mark.parametrize(("sampler", "acts"), [("TCD", True), ("DDIM", True), ("Euler", False)])
def test_eta_acts_with_the_samplers_that_take_it(client: FlaskClient, sampler: str, acts: bool) -> None:
    asked = SMALL | {"prompt": "a dog", "sampler_name": sampler, "seed": 5}
    pictures = [made(client.post(f"{API}/txt2img", json=asked | {"eta": eta}))[0] for eta in (0, 1)]
    assert (pictures[0].tobytes() != pictures[1].tobytes()) == acts


def test_krita(client: FlaskClient) -> None:
    assert client.get("/queue/status").status_code == 200
    for path in ("loras", "scripts", "script-info", "embeddings", "sd-modules"):
        assert client.get(f"{API}/{path}").status_code == 200
    assert client.get("/controlnet/version").get_json() == {"version": 3}
    for path in ("interrupt", "refresh-checkpoints", "refresh-vae", "refresh-loras"):
        assert client.post(f"{API}/{path}", json={}).status_code == 200
    asked = SMALL | {
        "prompt": "a dog",
        "sampler_name": "DPM++ 2M Karras",
        "seed": -1,
        "resize_mode": 1,
        "batch_size": 1,
    }
    image = "data:image/png;base64," + to_base64(photograph(96, 64))
    (picture,) = made(client.post(f"{API}/img2img", json=asked | {"init_images": [image], "denoising_strength": 0.5}))
    assert picture.size == (64, 64)


def test_gimp(client: FlaskClient) -> None:
    """gimp-stable-boy inverts each mask; stable-gimpfusion asks for the ControlNets."""
    assert client.get("/controlnet/model_list").get_json() == {"model_list": []}
    original = photograph(96, 64)
    asked: dict[str, Any] = SMALL | {"prompt": "a dog", "sampler_index": "Euler", "mask": to_base64(half_mask(96, 64))}
    asked |= {"inpainting_mask_invert": 1, "mask_blur": 0, "inpaint_full_res": True, "seed": 3, "init_images": []}
    missing = client.post(f"{API}/img2img", json=asked)
    assert (missing.status_code, missing.get_json()["detail"]) == (404, "Init image not found")
    (picture,) = made(client.post(f"{API}/img2img", json=asked | {"init_images": [to_base64(original)]}))
    kept = (48, 0, 96, 64)
    assert picture.crop(kept).tobytes() == original.crop(kept).tobytes()


def test_ai_render(client: FlaskClient) -> None:
    asked = SMALL | {"prompt": "a dog", "sampler_index": "Heun++", "init_images": [to_base64(photograph(64, 64))]}
    answer = client.post(f"{API}/img2img", json=asked)
    assert (answer.status_code, answer.get_json()["detail"]) == (404, "Sampler not found")
    assert "Euler a" in answer.get_json()["errors"]


def test_what_has_no_effect_is_silent_and_what_would_have_one_is_refused(client: FlaskClient) -> None:
    silent = client.post(f"{API}/txt2img", json=SMALL | dict.fromkeys(NO_EFFECT, 2))
    assert (len(made(silent)), "warnings" in silent.get_json()) == (1, False)
    refused = client.post(f"{API}/txt2img", json=SMALL | dict.fromkeys(REFUSED, 2))
    assert refused.status_code == 422
    assert [name for name in REFUSED if f"{name} asks for" not in refused.get_json()["detail"]] == []


@pytest.fixture(scope="module")
def guarded(settings: Settings, services: Services) -> Flask:
    return create_app(settings.model_copy(update={"require_token": True}), services)


def test_the_token_is_the_password_of_http_basic(guarded: Flask, services: Services) -> None:
    client = guarded.test_client()
    token = services.accounts.public_token("127.0.0.1")
    assert client.get(f"{API}/options", auth=("anything", token)).status_code == 200
    assert client.get(f"{API}/options", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Basic "}, {"Authorization": "Basic dTpw"}):
        answer = client.get(f"{API}/options", headers=headers)
        assert (answer.status_code, "HTTP Basic" in answer.get_json()["detail"]) == (401, "dTpw" not in str(headers))
        # Some programs send a password only when they are asked for it.
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="token", Bearer'
    # Other dialects take it from the header for tokens only.
    assert client.get("/models", auth=("anything", token)).status_code == 401


@pytest.mark.parametrize("size", [(16, 64), (128, 512)])
def test_the_pictures_of_two_upscalers_are_mixed(client: FlaskClient, size: tuple[int, int]) -> None:
    picture = photograph(16, 64)
    asked: dict[str, object] = {
        "resize_mode": 1,
        "upscaling_resize_w": size[0],
        "upscaling_resize_h": size[1],
        "upscaling_crop": False,
    }
    asked |= {"upscaler_1": "Nearest", "upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.25}
    first, second = (picture.resize(size, method) for method in (Image.Resampling.NEAREST, Image.Resampling.LANCZOS))
    # The second answer shows whether the first one has changed the picture that stays decoded.
    for _ in range(2):
        answer = client.post(f"{API}/extra-single-image", json=asked | {"image": to_base64(picture)})
        assert from_base64(answer.get_json()["image"]).tobytes() == Image.blend(first, second, 0.25).tobytes()
