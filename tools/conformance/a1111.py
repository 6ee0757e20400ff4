"""The dialect of AUTOMATIC1111's web UI."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tools.conformance.server import Dialect, Server, expect, gradient, picture, right_half, same_left, text

API = "/sdapi/v1"


def get(server: Server, path: str) -> Any:
    """What a path answers."""
    return server.json("GET", f"{API}/{path}", basic=True)


def post(server: Server, path: str, status: int = 200, **options: Any) -> Any:
    """What a path answers to a post."""
    return server.json("POST", f"{API}/{path}", status=status, basic=True, **options)


A1111 = Dialect("A1111", lambda server: get(server, "options"))

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "steps": 2, "seed": 7, "sampler_name": "Euler a"}
IMAGE = SMALL | {"init_images": [text(gradient(96, 64))], "denoising_strength": 0.5}
MASK = right_half("L", 0, 255, (96, 64))


@A1111.check
def txt2img(server: Server) -> None:
    """Draws from text, and says with which seeds."""
    answer = post(server, "txt2img", json=SMALL | {"n_iter": 2})
    expect([picture(image).size for image in answer["images"]] == [(64, 64)] * 2, "the pictures have another size")
    info = json.loads(answer["info"])
    expect(info["all_seeds"] == [7, 8], f"all_seeds is {info['all_seeds']}")
    expect(len(info["infotexts"]) == 2, "there is not one infotext for each picture")
    expect("parameters" in answer, "parameters are missing")


@A1111.check
def infotext(server: Server) -> None:
    """Writes an infotext whose last pair is not the seed."""
    answer = post(server, "txt2img", json=SMALL)
    read = post(server, "png-info", json={"image": answer["images"][0]})["info"]
    last = read.strip().split("\n")[-1]
    expect(last.startswith("Steps: 2, Sampler: Euler a"), f"its last line is {last[:40]!r}")
    expect("Seed: 7," in last, "the seed is missing or last")


@A1111.check
def odd_types(server: Server) -> None:
    """Takes numbers as texts and floats, an old sampler_index, and unknown fields."""
    odd = {"seed": "7", "steps": 2.0, "width": "64", "sampler_name": None, "sampler_index": "Euler a", "unheard_of": 1}
    same = [post(server, "txt2img", json=fields)["images"][0] for fields in (SMALL, SMALL | odd)]
    expect(picture(same[0]).tobytes() == picture(same[1]).tobytes(), "the pictures differ")


@A1111.check
def img2img(server: Server) -> None:
    """Brings an image to width and height."""
    for mode in (0, 1, 2):
        image = picture(post(server, "img2img", json=IMAGE | {"resize_mode": mode})["images"][0])
        expect(image.size == (64, 64), f"with resize_mode {mode} the picture is {image.size[0]}×{image.size[1]}")


@A1111.check
def masking(server: Server) -> None:
    """Replaces what is white in a mask, at the size of the image."""
    fields = IMAGE | {"mask": text(MASK), "mask_blur": 0, "inpainting_fill": 1, "denoising_strength": 1}
    image = picture(post(server, "img2img", json=fields)["images"][0])
    expect(image.size == (96, 64), f"the picture is {image.size[0]}×{image.size[1]}")
    expect(same_left(image, gradient(96, 64)), "what is black has changed")


@A1111.check
def inverted(server: Server) -> None:
    """Replaces what is black in an inverted mask."""
    fields = {"mask": text(right_half("L", 255, 0, (96, 64))), "mask_blur": 0, "inpainting_mask_invert": 1}
    fields |= {"inpaint_full_res": False, "width": 96}
    image = picture(post(server, "img2img", json=IMAGE | fields)["images"][0])
    expect(same_left(image, gradient(96, 64)), "what is white has changed")


@A1111.check
def models(server: Server) -> None:
    """Lists models, and names the current one among them."""
    titles = [model["title"] for model in get(server, "sd-models")]
    current = get(server, "options")["sd_model_checkpoint"]
    expect(current in titles, f"{current!r} is not in the list")


@A1111.check
def options(server: Server) -> None:
    """Takes back all options that it gives, and answers null."""
    expect(post(server, "options", json=get(server, "options")) is None, "the answer is something else")


@A1111.check
def unknown_model(server: Server) -> None:
    """Refuses a model that there is none of."""
    answer = server.ask("POST", f"{API}/options", basic=True, json={"sd_model_checkpoint": "no such model"})
    expect(answer.status_code >= 400, f"the status is {answer.status_code}")


@A1111.check
def unknown_sampler(server: Server) -> None:
    """Refuses a sampler that there is none of."""
    answer = post(server, "txt2img", status=404, json=SMALL | {"sampler_name": "no such sampler"})
    expect(answer["detail"] == "Sampler not found", f"detail is {answer['detail']!r}")


@A1111.check
def lists(server: Server) -> None:
    """Lists samplers, schedulers, upscalers and scripts."""
    expect("Euler a" in [sampler["name"] for sampler in get(server, "samplers")], "samplers have no Euler a")
    expect("automatic" in [entry["name"] for entry in get(server, "schedulers")], "schedulers have no automatic")
    expect(get(server, "upscalers")[0]["name"] == "None", "the first upscaler is not None")
    expect(get(server, "scripts").keys() >= {"txt2img", "img2img"}, "scripts lack txt2img or img2img")


@A1111.check
def other_lists(server: Server) -> None:
    """Has the other lists that programs ask for."""
    for path in ("latent-upscale-modes", "sd-vae", "loras", "hypernetworks", "face-restorers", "prompt-styles"):
        expect(isinstance(get(server, path), list), f"{path} is no list")
    expect(get(server, "embeddings").keys() >= {"loaded", "skipped"}, "embeddings lack loaded or skipped")
    for path in ("memory", "cmd-flags"):
        expect(isinstance(get(server, path), dict), f"{path} is no object")


@A1111.check
def progress(server: Server) -> None:
    """Has a progress of 0 at rest."""
    answer = get(server, "progress?skip_current_image=true")
    expect(answer["progress"] == 0, f"progress is {answer['progress']}")
    expect(answer["state"]["job_count"] == 0, f"job_count is {answer['state']['job_count']}")


@A1111.check
def interrupt(server: Server) -> None:
    """Takes an interrupt without a body, with a type alone, and with an empty object."""
    ways: list[dict[str, Any]] = [{}, {"headers": {"Content-Type": "application/json"}}, {"json": {}}]
    for sent in ways:
        for path in ("interrupt", "skip"):
            post(server, path, **sent)


@A1111.check
def interrupted(server: Server) -> None:
    """Answers an interrupted request with what there is."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, "txt2img", json=SMALL | {"steps": 150, "n_iter": 2})
        while not (answer.done() or get(server, "progress?skip_current_image=true")["progress"]):
            time.sleep(0.05)
        post(server, "interrupt")
        for image in answer.result()["images"]:
            expect(picture(image).size == (64, 64), "a picture has another size")


@A1111.check
def extras(server: Server) -> None:
    """Resizes pictures."""
    fields = {"image": text(gradient(32, 32)), "upscaler_1": "Lanczos", "upscaling_resize": 2}
    expect(picture(post(server, "extra-single-image", json=fields)["image"]).size == (64, 64), "it has another size")


@A1111.check
def outside(server: Server) -> None:
    """Has what Auto-Photoshop and Krita ask for before they connect."""
    server.json("GET", "/queue/status", basic=True)
    server.json("GET", "/user", basic=True)
    heartbeat = server.json("GET", "/sdapi/auto-photoshop-sd/heartbeat", basic=True)
    expect(heartbeat == {"heartbeat": True}, "there is no heartbeat")
