"""The endpoints that list what there is; what this server does not have is an empty list."""

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Response

from sd_api.jobs.queue import JobQueue
from sd_api.models.adapters.embedding_files import list_embeddings
from sd_api.models.adapters.lora_files import described_loras
from sd_api.models.folders import VAE, ModelFolders
from sd_api.settings import Settings
from sd_api.web.a1111.options import Checkpoints
from sd_api.web.a1111.pictures import UPSCALERS
from sd_api.web.a1111.samplers import samplers, schedulers

# The factor that programs show for an upscaler.
_SCALE = 4

LISTS: Mapping[str, Any] = {
    "samplers": samplers(),
    "schedulers": schedulers(),
    "upscalers": [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": _SCALE} for name in UPSCALERS
    ],
    "latent-upscale-modes": [],
    "sd-modules": [],
    "hypernetworks": [],
    "face-restorers": [],
    "prompt-styles": [],
    "realesrgan-models": [],
    "scripts": {"txt2img": [], "img2img": []},
    "script-info": [],
    "extensions": [],
    "cmd-flags": {"api": True},
}
"""What each path answers."""

NOTHING_TO_DO = ("refresh-checkpoints", "refresh-vae", "refresh-loras", "unload-checkpoint", "reload-checkpoint")
"""Paths that are posted to: models are loaded when they are needed, and leave when others need their memory."""


def make_blueprint(queue: JobQueue, checkpoints: Checkpoints, settings: Settings) -> Blueprint:
    """The lists, the memory, and what needs no work here."""
    blueprint = Blueprint("a1111_lists", __name__, url_prefix="/sdapi/v1")
    for path, content in LISTS.items():
        blueprint.add_url_rule(f"/{path}", path, partial(_answer, content))
    folders = ModelFolders.of(settings)
    blueprint.add_url_rule("/sd-models", "sd-models", checkpoints.entries)
    blueprint.add_url_rule("/loras", "loras", partial(_loras, folders))
    blueprint.add_url_rule("/sd-vae", "sd-vae", partial(_vaes, folders))
    blueprint.add_url_rule("/embeddings", "embeddings", partial(_embeddings, folders))
    blueprint.add_url_rule("/memory", "memory", partial(_memory, queue))
    for path in NOTHING_TO_DO:
        blueprint.add_url_rule(f"/{path}", path, _null, methods=["POST"])
    return blueprint


def _answer(content: Any) -> Any:
    return content


def _loras(folders: ModelFolders) -> list[dict[str, Any]]:
    """The LoRAs by the names that prompts use; their paths on this machine are not shown."""
    return [
        {
            "name": lora["name"],
            "alias": lora["alias"] or lora["name"],
            "path": f"{lora['name']}.safetensors",
            "metadata": {key: _parsed(value) for key, value in lora["metadata"].items()},
        }
        for lora in described_loras(folders)
        if lora["problem"] is None
    ]


def _parsed(value: str) -> Any:
    """A value of a LoRA's metadata; objects stand there as JSON."""
    if not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _vaes(folders: ModelFolders) -> list[dict[str, Any]]:
    """The autoencoders by the names that ``sd_vae`` takes."""
    return [{"model_name": file.name, "filename": file.name} for file in folders.files(VAE)]


def _embeddings(folders: ModelFolders) -> dict[str, Any]:
    """The words that were trained; what of them fits a model is known when it reads them."""
    about = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
    return {"loaded": dict.fromkeys(list_embeddings(folders), about), "skipped": {}}


def _null() -> Response:
    return Response("null", mimetype="application/json")


def _memory(queue: JobQueue) -> dict[str, Any]:
    """The memory of this machine, and that of the first worker's graphics card, in bytes."""
    cards = [worker.engine.memory for worker in queue.workers() if worker.engine.memory is not None]
    cuda: dict[str, Any] = {"error": "unavailable"}
    if cards:
        cuda = {"system": _used(cards[0].total, cards[0].free)}
    return {"ram": _ram(), "cuda": cuda}


def _ram() -> dict[str, Any]:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return _used(os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page)
    except (AttributeError, ValueError, OSError):
        # Windows does not say, and macOS not how much is free.
        return {"error": "unavailable"}


def _used(total: int, free: int) -> dict[str, int]:
    return {"free": free, "used": total - free, "total": total}
