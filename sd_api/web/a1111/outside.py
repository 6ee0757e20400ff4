"""Paths outside of ``/sdapi/v1`` that editors' plugins ask for before they connect, and what this server cannot do."""

from typing import Any

from flask import Blueprint

from sd_api.errors import UnknownModel
from sd_api.imaging.controls import PREPROCESSORS
from sd_api.jobs.queue import JobQueue
from sd_api.models.folders import VAE, ModelFolders
from sd_api.web.a1111.controlnet import model_names


def make_blueprint(queue: JobQueue, folders: ModelFolders) -> Blueprint:
    """The endpoints over ``queue``, and what is in the models' folders."""
    blueprint = Blueprint("a1111_outside", __name__)

    def queue_status() -> dict[str, Any]:
        return {"msg": "estimation", "queue_size": len(queue.jobs())}

    def vae_list() -> list[str]:
        return [file.name for file in folders.files(VAE)]

    def controlnet_filter() -> dict[str, list[str]]:
        """The models and preprocessors of ControlNet; a keyword hides none, because a model's name tells little."""
        return {"module_list": list(PREPROCESSORS), "model_list": ["None", *model_names(folders)]}

    blueprint.add_url_rule("/queue/status", view_func=queue_status)
    blueprint.add_url_rule("/user", view_func=user)
    blueprint.add_url_rule("/sdapi/v1/interrogate", view_func=interrogate, methods=["POST"])
    blueprint.add_url_rule("/sdapi/auto-photoshop-sd/heartbeat", view_func=heartbeat)
    blueprint.add_url_rule("/sdapi/auto-photoshop-sd/vae/list", view_func=vae_list)
    blueprint.add_url_rule("/sdapi/auto-photoshop-sd/controlnet/filter", view_func=controlnet_filter, methods=["POST"])
    return blueprint


def user() -> dict[str, Any]:
    """The user of a session, which there is none of here."""
    return {"user": None}


def heartbeat() -> dict[str, bool]:
    """Auto-Photoshop looks whether its extension is there."""
    return {"heartbeat": True}


def interrogate() -> Any:
    """What a picture shows.

    Raises:
        UnknownModel: No model here describes pictures.
    """
    raise UnknownModel("This server has no model that describes pictures.")
