"""Edits as a client sends them to a server, and what comes back."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import imagecodecs
import numpy as np
import requests
from canvases import canvas, square_mask
from PIL import Image

from sd_api.generation.plan import area

SEED = 7
# Pixels on a side of the edit that is compared between canvases.
EDIT = 256
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def edit(
    url: str, image: Image.Image, mask: Image.Image, prompt: str, steps: int, strength: float = 1.0
) -> Image.Image:
    """The answer to an edit."""
    return sent(url, encoded(form_of(image, mask, prompt, steps, strength)))


def form_of(image: Image.Image, mask: Image.Image, prompt: str, steps: int, strength: float = 1.0) -> dict[str, Any]:
    """The fields of an edit whose image and mask are sent with it."""
    return {
        "prompt": prompt or "a picture",
        "init_image": text_of(image),
        "mask_image": text_of(mask),
        "num_inference_steps": steps,
        "strength": strength,
        "scheduler": "ddim",
        "seed": SEED,
    }


def encoded(form: dict[str, Any]) -> bytes:
    """The body of a request, made beforehand: Python needs longer for its escapes than the server for all of it."""
    return urlencode(form).encode()


def sent(url: str, body: bytes) -> Image.Image:
    """The answer to a body, as JSON with base64."""
    answer = json.loads(_content(requests.post(f"{url}/masking", data=body, headers=FORM, timeout=3600)))
    return Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["base64"]))).convert("RGB")


def text_of(image: Image.Image) -> str:
    """A PNG file in base64."""
    file = io.BytesIO()
    # A client's own time is no part of the edit; little is saved by more effort.
    image.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def sender(url: str, size: tuple[int, int], steps: int, way: dict[str, str]) -> Callable[[], bytes]:
    """What sends an edit of 256 x 256 pixels in a way; the time in which a client makes its files is no part of it."""
    image = canvas(size, "photo", int(way.get("number", 20)))
    mask, _ = square_mask(size, EDIT**2 / area(size))
    form = form_of(image, mask, "a dog on a blue background", steps)
    if "document" in way:
        form["init_image"] = document_of(url, base64.b64decode(form["init_image"]))
    form["output"] = way.get("output", "image")
    body, headers = encoded(form), FORM | ({"Accept": "image/png"} if "png" in way else {})

    def send() -> bytes:
        return _content(requests.post(f"{url}/masking", data=body, headers=headers, timeout=3600))

    return send


def deep_differences(url: str, size: tuple[int, int], steps: int) -> int:
    """The kept samples of 16 bits, alpha included, that an edit changes in a document of a size."""
    mask, _ = square_mask(size, EDIT**2 / area(size))
    y, x = np.ogrid[: size[1], : size[0]]
    # Every level of the lower byte, in a pattern that takes little room in a file.
    lower = ((x + y) % 256).astype(np.uint16)
    samples = np.dstack([np.asarray(canvas(size, "photo")).astype(np.uint16) * 256, 65535 - lower])
    samples[..., :3] += lower[..., None]
    form = form_of(Image.new("L", (1, 1)), mask, "a dog on a blue background", steps)
    form |= {"init_image": document_of(url, bytes(imagecodecs.png_encode(samples, level=1))), "depth": "source"}
    headers = FORM | {"Accept": "image/png"}
    answer = _content(requests.post(f"{url}/masking", data=encoded(form), headers=headers, timeout=3600))
    made, kept = imagecodecs.png_decode(answer), np.asarray(mask) == 0
    assert made.dtype == np.uint16
    assert (made[~kept] != samples[~kept]).any()
    return int((made != samples)[kept].sum())


def document_of(url: str, content: bytes) -> str:
    """The id of a document, which is uploaded."""
    headers = {"Content-Type": "image/png"}
    uploaded = _content(requests.post(f"{url}/documents", data=content, headers=headers, timeout=600))
    document: str = json.loads(uploaded)["document"]["id"]
    return document


def _content(response: requests.Response) -> bytes:
    response.raise_for_status()
    return response.content
