"""The dialect of the Photoshop plugin: forms in, base64 pictures out."""

from typing import Any

from tools.conformance.server import Dialect, Server, expect, gradient, picture, right_half, same_left, text


def has_forms(server: Server) -> None:
    """It is there, and shows its jobs."""
    expect(server.json("GET", "/ping")["status"] == "success", "no success")
    server.json("GET", "/jobs")


PLUGIN = Dialect("plugin", has_forms)

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 7}


def made(server: Server, path: str, **form: Any) -> Any:
    """The first picture that a form is answered with."""
    answer = server.json("POST", path, data=SMALL | form)
    expect(answer["status"] == "success", f"status is {answer['status']}")
    return answer["images"][0]


@PLUGIN.check
def txt2img(server: Server) -> None:
    """Draws from text at the size that is asked for."""
    expect(picture(made(server, "/txt2img")["base64"]).size == (64, 64), "the picture has another size")


@PLUGIN.check
def seeds(server: Server) -> None:
    """Draws the same picture for the same seed."""
    first, second = (made(server, "/txt2img") for _ in range(2))
    expect(first["seed"] == 7, f"seed is {first['seed']}")
    expect(picture(first["base64"]).tobytes() == picture(second["base64"]).tobytes(), "the pictures differ")


@PLUGIN.check
def img2img(server: Server) -> None:
    """Redraws an image at its own size."""
    image = made(server, "/img2img", init_image=text(gradient(96, 64)), strength=0.5)
    expect(picture(image["base64"]).size == (96, 64), "the picture has another size")


@PLUGIN.check
def masking(server: Server) -> None:
    """Replaces what is white in a mask, and keeps what is black."""
    mask = right_half("L", 0, 255)
    image = picture(made(server, "/masking", init_image=text(gradient()), mask_image=text(mask))["base64"])
    expect(same_left(image, gradient()), "what is black has changed")
    expect(image.tobytes() != gradient().tobytes(), "what is white has not changed")


@PLUGIN.check
def several(server: Server) -> None:
    """Makes several pictures."""
    images = server.json("POST", "/txt2img", data=SMALL | {"num_outputs": 2})["images"]
    expect([image["seed"] for image in images] == [7, 8], "the seeds are others")


@PLUGIN.check
def refusal(server: Server) -> None:
    """Refuses a malformed field by its name."""
    answer = server.json("POST", "/txt2img", status=400, data=SMALL | {"num_inference_steps": "many"})
    expect(answer["status"] == "failure", f"status is {answer['status']}")
    expect("num_inference_steps" in answer["message"], "the message does not name it")


@PLUGIN.check
def lists(server: Server) -> None:
    """Lists its custom models, its models and its jobs."""
    expect(isinstance(server.json("GET", "/custom_models"), list), "/custom_models is no list")
    expect(server.json("GET", "/models")["models"], "/models has none")
    expect(isinstance(server.json("GET", "/jobs")["jobs"], list), "/jobs is no list")


@PLUGIN.check
def cancelling(server: Server) -> None:
    """Cancels a job by its id."""
    job = server.json("POST", "/txt2img", status=202, data=SMALL | {"num_inference_steps": 400, "wait": "false"})["job"]
    ended = server.json("POST", f"/jobs/{job['id']}/cancel")["job"]
    expect(ended["state"] == "cancelled", f"its state is {ended['state']}")
