"""webuiapi, a client of A1111's API, against this server with nothing but its address changed."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import webuiapi
from click.testing import CliRunner
from pictures import from_base64, half_mask, photograph, to_base64
from PIL import Image, ImageChops, ImageDraw
from ready_server import ready_server
from tiny_model import tiny_model

from tools.conformance.__main__ import main

QUICK: dict[str, Any] = {"prompt": "a dog", "steps": 2, "seed": 5, "width": 64, "height": 64}

# With which masks leave the hole as it is drawn.
SHARP: dict[str, Any] = {"mask_blur": 0, "inpainting_fill": 1, "denoising_strength": 1}


@pytest.fixture(scope="module")
def url(make_settings: Any) -> Iterator[str]:
    custom = {"model_path": str(tiny_model()), "ui_label": "Other", "url_path": "folder/other"}
    with ready_server(make_settings(custom_models=[custom], enable_public_token=True)) as url:
        yield url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[webuiapi.WebUIApi]:
    api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1")
    yield api
    api.session.close()


def post(url: str, path: str, fields: Any, **headers: str) -> requests.Response:
    return requests.post(f"{url}/sdapi/v1/{path}", json=fields, headers=headers, timeout=60)


def same_by_plugin(url: str, path: str, **form: Any) -> Image.Image:
    form = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5, "guidance_scale": 7, "scheduler": "euler-a"} | form
    answer = requests.post(url + path, data=form, timeout=60).json()
    return from_base64(answer["images"][0]["base64"])


def read_infotext(text: str) -> dict[str, str]:
    """The web UI's rule: pairs in the last line if there are three; before it the prompt, then the negative prompt."""
    *lines, last = text.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    assert len(pairs) >= 3
    read = {"Prompt": "", "Negative prompt": ""}
    part = "Prompt"
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            part, line = "Negative prompt", line[len("Negative prompt:") :].strip()
        read[part] += ("\n" if read[part] else "") + line
    for key, value in pairs:
        value = json.loads(value) if value.startswith('"') and value.endswith('"') else value
        if size := re.fullmatch(r"(\d+)x(\d+)", value):
            read |= {f"{key}-1": size[1], f"{key}-2": size[2]}
        else:
            read[key] = value
    return read


@contextmanager
def long_job(url: str, fields: Any = None, **headers: str) -> Iterator[list[requests.Response]]:
    """A job of 400 steps that runs; its answer is there after the block."""
    answers: list[requests.Response] = []
    fields = QUICK | {"steps": 400} | (fields or {})
    thread = threading.Thread(target=lambda: answers.append(post(url, "txt2img", fields, **headers)))
    thread.start()
    wait_until(lambda: requests.get(f"{url}/progress", timeout=10).json()["job"])
    yield answers
    thread.join()


def wait_until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pictures_are_those_of_the_plugin_and_say_how_they_were_made(api: webuiapi.WebUIApi, url: str) -> None:
    result = api.txt2img(**QUICK, negative_prompt="cat, a: b", n_iter=2)
    assert [image.size for image in result.images] == [(64, 64)] * 2
    plugin = same_by_plugin(url, "/txt2img", width=64, height=64, negative_prompt="cat, a: b")
    assert result.image.tobytes() == plugin.tobytes()
    assert result.info["all_seeds"] == [5, 6]
    assert (result.info["sampler_name"], result.info["cfg_scale"], result.info["batch_size"]) == ("Euler a", 7, 1)
    assert (result.parameters["steps"], result.parameters["n_iter"]) == (2, 2)
    assert (result.parameters["styles"], result.parameters["s_noise"], result.parameters["hr_cfg"]) == (None, 1, None)
    assert "warnings" not in result.json
    for image, text, seed in zip(result.images, result.info["infotexts"], ("5", "6"), strict=True):
        assert image.info["parameters"] == text
        # A client drops the last character.
        read = read_infotext(text[:-1])
        assert (read["Prompt"], read["Negative prompt"]) == ("a dog", "cat, a: b")
        assert (read["Steps"], read["Sampler"], read["CFG scale"], read["Seed"]) == ("2", "Euler a", "7", seed)
        assert (read["Size-1"], read["Size-2"]) == ("64", "64")
    information = api.png_info(result.image)
    assert information.info == result.info["infotexts"][0]
    assert information.parameters == read_infotext(information.info) | {"Schedule type": "Automatic"}
    assert information.parameters["Negative prompt"] == "cat, a: b"


def test_every_field_is_in_the_infotext(url: str) -> None:
    fields = QUICK | {"sampler_name": "DPM++ 2M", "scheduler": "karras", "subseed": 9, "subseed_strength": 0.5}
    fields |= {"denoising_strength": 0.5, "init_images": [to_base64(photograph(64, 64))], "cfg_scale": 6.5}
    answer = post(url, "img2img", fields | {"override_settings": {"CLIP_stop_at_last_layers": 2}}).json()
    info = json.loads(answer["info"])
    read = read_infotext(info["infotexts"][0])
    wanted = {"Sampler": "DPM++ 2M", "Schedule type": "Karras", "Denoising strength": "0.5", "CFG scale": "6.5"}
    wanted |= {"Variation seed": "9", "Variation seed strength": "0.5", "Clip skip": "2", "Seed": "5"}
    assert wanted.items() <= read.items()
    assert (info["all_subseeds"], info["clip_skip"]) == ([9], 2)
    assert info["extra_generation_params"] == {"Schedule type": "Karras"}
    assert answer["parameters"]["init_images"] is None


def ellipse_and_corner(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width // 2, height // 5, width - 5, height - 9), fill=255)
    mask.paste(255, (width // 2, 0, width // 2 + 7, 3))
    return mask


@pytest.mark.parametrize("make_mask", [half_mask, ellipse_and_corner])
def test_the_three_polarities_of_masks_mean_the_same_hole(
    api: webuiapi.WebUIApi, url: str, make_mask: Callable[[int, int], Image.Image]
) -> None:
    size = width, height = 99, 70
    image, mask = photograph(width, height), make_mask(width, height)
    fields = QUICK | {"width": width, "height": height, "images": [image]} | SHARP | {"inpaint_full_res": False}
    white = api.img2img(**fields, mask_image=mask).image
    form = {"init_image": to_base64(image), "mask_image": to_base64(mask), "strength": 1}
    assert white.tobytes() == same_by_plugin(url, "/masking", **form).tobytes()
    black = ImageChops.invert(mask)
    holed = Image.new("RGBA", size)
    holed.putalpha(black)
    openai = {"prompt": "a dog", "image": to_base64(image), "mask": to_base64(holed), "steps": 2, "seed": 5}
    openai |= {"guidance": 7, "scheduler": "euler-a"}
    answer = requests.post(f"{url}/v1/images/edits", json=openai, timeout=60).json()
    assert white.tobytes() == from_base64(answer["data"][0]["b64_json"]).tobytes()
    assert white.size == size
    assert ImageChops.multiply(ImageChops.difference(white, image), black.convert("RGB")).getbbox() is None
    # A mask with transparency: what is opaque is made anew, whatever its colour.
    painted = Image.new("RGBA", size, (10, 200, 10, 200))
    painted.putalpha(mask.point(lambda level: level * 200 // 255))
    assert api.img2img(**fields, mask_image=painted).image.tobytes() == white.tobytes()
    assert api.img2img(**fields, mask_image=black, inpainting_mask_invert=1).image.tobytes() == white.tobytes()


def test_the_masked_part_alone_is_made_at_the_size_of_the_image(api: webuiapi.WebUIApi, url: str) -> None:
    image, mask = photograph(96, 64), half_mask(96, 64)
    fields = QUICK | {"steps": 1, "images": [image]} | SHARP
    made = api.img2img(**fields, mask_image=mask, inpaint_full_res_padding=16).image
    form = {"init_image": to_base64(image), "mask_image": to_base64(mask), "strength": 1, "num_inference_steps": 1}
    form |= {"inpaint_area": "masked", "context": 16}
    assert made.size == (96, 64)
    assert made.tobytes() == same_by_plugin(url, "/masking", **form).tobytes()


@pytest.mark.parametrize(("number", "fill"), [(0, "border"), (1, "original"), (2, "noise"), (3, "neutral")])
def test_fills_and_the_usual_blur_are_this_servers(api: webuiapi.WebUIApi, url: str, number: int, fill: str) -> None:
    image, mask = photograph(64, 64), half_mask(64, 64)
    fields = QUICK | {"images": [image], "inpainting_fill": number, "inpaint_full_res": False}
    made = api.img2img(**fields, mask_image=mask, denoising_strength=0.5).image
    form = {
        "init_image": to_base64(image),
        "mask_image": to_base64(mask),
        "strength": 0.5,
        "fill": fill,
        "mask_blur": 4,
    }
    assert made.tobytes() == same_by_plugin(url, "/masking", **form).tobytes()
    assert made.info["parameters"].count("Mask blur: 4,") == 1


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_images_are_brought_to_the_size_of_the_answer(api: webuiapi.WebUIApi, mode: int) -> None:
    image, mask = Image.new("RGB", (128, 64), "red"), Image.new("L", (128, 64))
    image.paste("blue", (32, 0, 96, 64))
    fields = QUICK | {"images": [image], "resize_mode": mode, "denoising_strength": 0}
    plain = api.img2img(**fields).image
    assert plain.size == (64, 64)
    # The blue part is half of the stretched image, all of the cropped one, and half of one that is filled up.
    shares = [plain.getpixel((x, y))[2] > 128 for x in range(64) for y in range(64)]
    assert sum(shares) / len(shares) == pytest.approx({1: 1.0}.get(mode, 0.5), abs=0.05)
    assert api.img2img(**fields, mask_image=mask, inpaint_full_res=False).image.tobytes() == plain.tobytes()


def test_numbers_come_in_any_form_and_unknown_fields_are_named(url: str) -> None:
    odd = {
        "seed": "5",
        "steps": 2.0,
        "width": "64",
        "height": "64",
        "cfg_scale": 7,
        "prompt": "a dog",
        "auth": "secret",
    }
    odd |= {"sampler_index": "Euler a", "negative_prompt": None, "subseed": "", "unheard_of": 1}
    unit = {"enabled": "false", "module": "canny"}
    odd |= {"alwayson_scripts": {"ADetailer": {"args": [True]}, "ControlNet": {"args": [{"enabled": False}, unit]}}}
    odd |= {
        "styles": ["", "None"],
        "s_noise": 1.0,
        "initial_noise_multiplier": "1",
        "s_churn": 0,
        "script_name": "None",
    }
    odd |= {"override_settings": {"sd_vae": "automatic"}}
    answer = post(url, "txt2img", odd)
    plugin = same_by_plugin(url, "/txt2img", width=64, height=64)
    assert from_base64(answer.json()["images"][0]).tobytes() == plugin.tobytes()
    warnings = " ".join(answer.json()["warnings"])
    assert "unheard_of" in warnings
    assert "ADetailer" in warnings
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"sampler_name": "No such"}, 404, "Sampler not found"),
        ({"scheduler": "exponential"}, 422, "scheduler"),
        ({"steps": "many"}, 422, "steps"),
        ({"n_iter": 2, "batch_size": 1000}, 422, "batch_size"),
        ({"enable_hr": True}, 422, "enable_hr"),
        ({"s_noise": 1.1}, 422, "s_noise"),
        ({"styles": ["", "a style"]}, 422, "styles"),
        ({"prompt": "a dog <lora:fluffy:0.8>"}, 422, "fluffy"),
        ({"prompt": "a dog <hypernet:fuzzy:0.8>"}, 422, "fuzzy"),
        ({"alwayson_scripts": {"controlnet": {"args": [{"module": "reference_only"}]}}}, 422, "ControlNet"),
        ({"alwayson_scripts": {"controlnet": {"args": [{"model": "canny"}]}}}, 422, "controls.0.image is missing"),
        ({"override_settings": {"sd_model_checkpoint": "no such"}}, 404, "no such"),
        ({"width": 99999}, 422, "width"),
    ],
)
def test_what_would_change_the_picture_is_refused(url: str, fields: Any, status: int, named: str) -> None:
    answer = post(url, "txt2img", QUICK | fields)
    assert (answer.status_code, named in answer.json()["detail"]) == (status, True)


@pytest.mark.parametrize("images", [[], [""], None, "nothing", ["https://example.com/a.png"], [5]])
def test_images_that_are_none(url: str, images: Any) -> None:
    answer = post(url, "img2img", QUICK | {"init_images": images, "width": 10**9})
    missing = not images or not any(images)
    assert answer.status_code == (404 if missing else 422)
    assert answer.json()["detail"].startswith("Init image not found" if missing else "width")


def test_models_switch_for_later_requests_and_options_are_kept(api: webuiapi.WebUIApi, url: str) -> None:
    main, other = [model["title"] for model in api.get_sd_models()]
    assert api.util_get_current_model() == main
    api.util_set_model("folder/other")
    assert api.util_get_current_model() == other == "folder/other"
    assert api.txt2img(**QUICK).info["sd_model_name"] == other
    assert api.txt2img(**QUICK, override_settings={"sd_model_checkpoint": main}).info["sd_model_name"] == main
    assert api.set_options({"of_a_program": [1, 2]} | api.get_options()) is None
    assert api.get_options()["of_a_program"] == [1, 2]
    assert "forge_preset" not in api.get_options()
    assert post(url, "options", {"sd_model_checkpoint": "no such", "of_a_program": 3}).status_code == 404
    assert requests.post(f"{url}/sdapi/v1/options", data='{"x": NaN}', timeout=10).status_code == 400
    assert post(url, "options", {"CLIP_stop_at_last_layers": 13}).status_code == 422
    assert post(url, "options", {"much": "x" * 100_000, "more": "x" * 200_000}).status_code == 413
    assert api.get_options()["of_a_program"] == [1, 2]
    api.set_options({"sd_model_checkpoint": main})


def test_an_interrupt_ends_the_jobs_of_its_caller_and_no_other(api: webuiapi.WebUIApi, url: str) -> None:
    with long_job(url, {"force_task_id": "task(1)"}) as answers:
        for way in ("interrupt", "skip"):
            assert requests.post(f"{url}/sdapi/v1/{way}", headers={"User-Agent": "node-fetch"}, timeout=10).ok
            token = requests.post(f"{url}/token/all", timeout=10).json()["access_token"]
            assert requests.post(f"{url}/sdapi/v1/{way}", auth=("any", token), timeout=10).ok
            assert requests.post(f"{url}/sdapi/v1/{way}?force_task_id=other", timeout=10).ok
        strange = requests.get(f"{url}/sdapi/v1/progress", headers={"User-Agent": "node-fetch"}, timeout=10).json()
        assert (strange["progress"], strange["state"]["job_count"]) == (0, 0)
        wait_until(lambda: api.get_progress()["current_image"])
        progress = api.get_progress()
        assert 0 < progress["progress"] < 1
        assert (progress["state"]["job"], progress["state"]["job_count"]) == ("task(1)", 1)
        assert (progress["state"]["sampling_steps"], from_base64(progress["current_image"]).size[0] > 0) == (400, True)
        (job,) = requests.get(f"{url}/jobs", timeout=10).json()["jobs"]
        assert (job["dialect"], job["state"]) == ("a1111", "running")
        assert api.interrupt() == {}
    (answer,) = answers
    assert (answer.status_code, answer.headers["X-Job-Id"]) == (200, "task(1)")
    assert [from_base64(image).size for image in answer.json()["images"]] == [(64, 64)]
    assert "stopped early" in answer.json()["warnings"][0]
    assert len(json.loads(answer.json()["info"])["infotexts"]) == 1
    rest = api.get_progress()
    assert (rest["progress"], rest["eta_relative"], rest["current_image"]) == (0, 0, None)


def test_an_interrupted_request_that_waits_has_no_picture(api: webuiapi.WebUIApi, url: str) -> None:
    waiting: list[requests.Response] = []
    with long_job(url, **{"User-Agent": "node-fetch"}) as running:
        thread = threading.Thread(target=lambda: waiting.append(post(url, "txt2img", QUICK | {"steps": 400})))
        thread.start()
        wait_until(lambda: api.get_progress()["state"]["job_count"])
        api.interrupt()
        thread.join()
        assert requests.get(f"{url}/jobs", timeout=10).json()["jobs"][0]["state"] == "running"
        requests.post(f"{url}/sdapi/v1/interrupt", headers={"User-Agent": "node-fetch"}, timeout=10)
    assert (waiting[0].status_code, waiting[0].json()["images"]) == (200, [])
    assert len(running[0].json()["images"]) == 1


def test_asynchronous_calls_are_the_same_callers(api: webuiapi.WebUIApi) -> None:
    async def call() -> None:
        image = photograph(64, 64)
        made, redrawn, larger, several = await asyncio.gather(
            api.txt2img(**QUICK, use_async=True),
            api.img2img(**QUICK, images=[image], use_async=True),
            api.extra_single_image(image, use_async=True),
            api.extra_batch_images([image], use_async=True),
        )
        assert made.image.tobytes() == api.txt2img(**QUICK).image.tobytes()
        assert redrawn.image.tobytes() == api.img2img(**QUICK, images=[image]).image.tobytes()
        assert larger.image.size == several.image.size == (128, 128)
        # By another library, whose name the server has to know.
        long = api.txt2img(**QUICK | {"steps": 400}, use_async=True)
        await asyncio.to_thread(wait_until, lambda: api.get_progress()["state"]["sampling_step"])
        await asyncio.to_thread(api.interrupt)
        assert (await long).image.size == (64, 64)

    asyncio.run(call())


def test_an_interrupt_leaves_the_jobs_of_other_dialects(api: webuiapi.WebUIApi, url: str) -> None:
    form = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 400, "wait": "false", "job_id": "own"}
    requests.post(f"{url}/txt2img", data=form, timeout=10)
    wait_until(lambda: requests.get(f"{url}/progress", timeout=10).json()["job"])
    api.interrupt()
    assert api.get_progress()["state"]["job_count"] == 0
    assert requests.get(f"{url}/jobs/own", timeout=10).json()["job"]["state"] == "running"
    requests.post(f"{url}/jobs/own/cancel", timeout=10)


def test_pictures_are_resized(api: webuiapi.WebUIApi, url: str) -> None:
    image = photograph(48, 32)
    assert api.extra_single_image(image, upscaler_1="Lanczos", upscaling_resize=1.5).image.size == (72, 48)
    several = api.extra_batch_images(
        [image, image], resize_mode=1, upscaling_resize_w=60, upscaling_resize_h=60, upscaler_1="Nearest"
    )
    assert [each.size for each in several.images] == [(60, 60)] * 2
    small = {"resize_mode": 1, "upscaling_resize_w": 60, "upscaling_resize_h": 60, "upscaling_crop": False}
    assert api.extra_single_image(image, **small).image.size == (60, 40)
    for wrong in (
        {"upscaler_1": "ESRGAN_4x"},
        {"gfpgan_visibility": 1},
        {"upscaling_resize_w": 10**6, "resize_mode": 1},
    ):
        answer = post(url, "extra-single-image", {"image": to_base64(image)} | wrong)
        assert answer.status_code == 422
        assert next(iter(wrong)).removesuffix("_w") in answer.json()["detail"]


def test_all_that_webuiapi_asks_for_is_there(api: webuiapi.WebUIApi) -> None:
    assert {"Euler a", "DPM++ 2M Karras", "DDIM"} <= set(api.util_get_sampler_names())
    assert api.util_get_scheduler_names() == ["automatic", "karras", "sgm_uniform"]
    assert [upscaler["name"] for upscaler in api.get_upscalers()] == ["None", "Lanczos", "Nearest"]
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags()["api"] is True
    assert api.refresh_checkpoints() is None
    empty = ("sd_vae", "latent_upscale_modes", "loras", "hypernetworks", "face_restorers", "realesrgan_models")
    for name in (*empty, "prompt_styles"):
        assert getattr(api, f"get_{name}")() == []
    api.util_wait_for_ready()
    with pytest.raises(RuntimeError) as refused:
        api.interrogate(photograph(64, 64))
    assert refused.value.args[0] == 404
    assert api.controlnet_version() == 3
    assert api.controlnet_model_list() == []
    assert "canny" in api.controlnet_module_list()
    edges = api.controlnet_detect([photograph(64, 48)], module="canny").image
    assert edges.size == (64, 48)
    assert {level for _, level in edges.convert("L").getcolors()} == {0, 255}
    assert set(api.get_artists()) >= {"detail"}


def test_unknown_paths_are_short_and_other_authorizations_disturb_nobody(url: str) -> None:
    for path in ("sdapi/v1/no-such", "controlnet/no-such", "queue/no-such"):
        missing = requests.get(f"{url}/{path}", timeout=10)
        assert (missing.status_code, len(missing.text) < 500) == (404, True)
        assert "detail" in missing.json()
    for authorization in ("", "Basic ", "Basic dTpw", "Basic \xff", "Bearer nonsense", "Bearer"):
        answer = requests.get(f"{url}/sdapi/v1/options", headers={"Authorization": authorization}, timeout=10)
        assert answer.status_code == 200
    assert requests.get(f"{url}/models", timeout=10).json()["object"] == "list"
    assert [model["id"] for model in requests.get(f"{url}/models", timeout=10).json()["data"]][1] == "folder/other"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"data": b"{"}, "no valid JSON"),
        ({"data": {"prompt": "a dog"}}, "is a form"),
        ({"files": {"prompt": (None, "a dog")}}, "is a form"),
        ({"json": ["a dog"]}, "no JSON object"),
    ],
)
def test_bodies_that_are_no_object_are_refused_by_what_they_are(url: str, sent: Any, expected: str) -> None:
    answer = requests.post(f"{url}/sdapi/v1/txt2img", timeout=10, **sent)
    assert (answer.status_code, expected in answer.json()["detail"]) == (400, True)


def test_the_conformance_suite_finds_every_dialect_complete(url: str) -> None:
    done = CliRunner().invoke(main, [url])
    assert done.exit_code == 0, done.output
    assert [line.split()[-2] for line in done.output.splitlines()[1:]] == ["yes"] * 4
    assert max(map(len, done.output.splitlines())) <= 80
    nothing = CliRunner().invoke(main, [f"{url}/nothing"])
    assert (nothing.exit_code, nothing.output.count(" no ")) == (2, 4)
    assert max(map(len, nothing.output.splitlines())) <= 80
    away = CliRunner().invoke(main, ["http://127.0.0.1:9"])
    assert (away.exit_code, away.output) == (2, "No server answers at http://127.0.0.1:9: GET /: ConnectionError.\n")
    for address in ("127.0.0.1:1337", "ftp://127.0.0.1", "http://", "http://no such host", "http://[::1"):
        wrong = CliRunner().invoke(main, [address])
        assert (wrong.exit_code, "is no address" in wrong.output) == (2, True)
    refused = CliRunner().invoke(main, [url, "--token", "wrong"])
    assert (refused.exit_code, "GET /tasks wants a token; use --token" in refused.output) == (0, True)
