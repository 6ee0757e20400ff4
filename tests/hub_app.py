"""The application over the hub, as the plugin sees it; and the models that the small hub has."""

import io
import json
import time
from functools import cache
from typing import Any

import safetensors.torch
import torch
from fake_hub import Repository
from flask import Flask
from tiny_model import tiny_model
from werkzeug.test import TestResponse

from sd_api.models.safety import CHECKER_REPO
from sd_api.wiring import Services

FORM = {"prompt": "a dog", "num_inference_steps": "2", "width": "64", "height": "64", "seed": "5"}
UNET = "unet/diffusion_pytorch_model.safetensors"
TINY = Repository.of(tiny_model())
EVIL = b"raise SystemExit('code of a stranger ran')"


class App:
    """The whole application in this process, with a model that is being loaded."""

    def __init__(self, app: Flask, services: Services) -> None:
        self._client = app.test_client()
        self.services = services

    def health(self) -> dict[str, Any]:
        """What /health says once the model is loaded, or is not going to be."""
        deadline = time.monotonic() + 60
        while (content := _content(self._client.get("/health")))["status"] == "loading":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return content

    def succeed(self) -> None:
        """Make a picture."""
        content = _content(self._client.post("/txt2img", data=FORM))
        assert content["status"] == "success", content
        assert content["images"][0]["nsfw"] is False
        assert self.health()["status"] == "ready"

    def fail(self) -> str:
        """Be refused a picture; the message."""
        response = self._client.post("/txt2img", data=FORM)
        assert response.status_code == 503
        content = _content(response)
        assert content["status"] == "failure"
        message: str = content["message"]
        assert message.endswith("Or start with the built-in model: --demo")
        assert "\n" not in message
        return message

    def fail_to_load(self) -> str:
        """Be refused a picture for the reason that /health has; the message."""
        state = self.health()
        assert state["status"] == "failed", state
        message = self.fail()
        assert message == state["message"]
        return message


def _content(response: TestResponse) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(response.data)
    return content


def changed(index: dict[str, Any], **modules: bytes) -> Repository:
    """The tiny model with another index, and with modules such as ``unet__mine``."""
    code = {f"{name.replace('__', '/')}.py": content for name, content in modules.items()}
    whole = json.loads(TINY.files["model_index.json"]) | index
    return Repository({**TINY.files, **code, "model_index.json": json.dumps(whole).encode()})


def _half() -> Repository:
    """The tiny model, published in half precision only."""
    return Repository({name.replace(".safetensors", ".fp16.safetensors"): TINY.files[name] for name in TINY.files})


def _pickled() -> Repository:
    """The tiny model, published before there was safetensors."""
    files = dict(TINY.files)
    for name in TINY.files:
        if name.endswith(".safetensors"):
            weights = io.BytesIO()
            torch.save(safetensors.torch.load(files.pop(name)), weights)
            old = name.replace("/model.safetensors", "/pytorch_model.bin").replace(".safetensors", ".bin")
            files[old] = weights.getvalue()
    return Repository(files)


@cache
def make_repositories() -> dict[str, Repository]:
    """Models that this server runs and models that it does not, by their id. Do not change it."""
    return {
        "demo/tiny": TINY,
        "demo/gated": Repository(TINY.files, gated=True),
        "demo/disabled": Repository(TINY.files, disabled=True),
        "demo/half": _half(),
        "demo/pickled": _pickled(),
        "demo/single-file": Repository({"README.md": b"#", "model.safetensors": b"weights"}),
        "demo/own-pipeline": changed({"_class_name": ["pipeline", "Mine"]}, pipeline=EVIL),
        "demo/community": changed({"_class_name": ["clip_guided_stable_diffusion", "CLIPGuidedStableDiffusion"]}),
        "demo/own-part": changed({"unet": ["mine", "Mine"]}, unet__mine=EVIL),
        "demo/video": changed({"_class_name": "StableVideoDiffusionPipeline"}),
        "demo/no-checker": changed({"safety_checker": [None, None], "feature_extractor": [None, None]}),
        "stable-diffusion-v1-5/stable-diffusion-v1-5": TINY,
        # Flat, as it is in reality.
        CHECKER_REPO: Repository(
            {
                "config.json": TINY.files["safety_checker/config.json"],
                "model.safetensors": TINY.files["safety_checker/model.safetensors"],
                "preprocessor_config.json": TINY.files["feature_extractor/preprocessor_config.json"],
                "pytorch_model.bin": b"the same, pickled",
            }
        ),
    }
