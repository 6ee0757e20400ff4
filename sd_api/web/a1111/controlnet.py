"""What ControlNet's extension has under /controlnet: its lists, and the maps that preprocessors make."""

from collections.abc import Iterator
from functools import partial
from threading import Lock
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, ConfigDict, Field

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.controls import MAX_CONTROLS
from sd_api.imaging.controls import PREPROCESSORS, map_of
from sd_api.imaging.decoding import read_image
from sd_api.imaging.encoding import encode_png
from sd_api.models.adapters.control_files import described_controls
from sd_api.models.folders import ModelFolders
from sd_api.settings import Limits
from sd_api.web.a1111.answers import base64_text
from sd_api.web.a1111.pictures import picture_bytes
from sd_api.web.a1111.requests import PictureText, read_body
from sd_api.web.a1111.units import SCRIPT, module_of

# A map takes some fifty bytes for each pixel while it is made, and its picture may come in a few kilobytes.
_MAKING = Lock()

# The version of the extension whose requests are understood; programs take 2 and more for the present form.
_VERSION = 3


class Detect(BaseModel):
    """Pictures of which a preprocessor makes maps.

    Attributes:
        controlnet_module: A preprocessor.
        controlnet_input_images: The pictures, as base64 texts.
        controlnet_images: An older name of the same.
    """

    model_config = ConfigDict(frozen=True)

    controlnet_module: str = Field(default="none", description="a preprocessor of module_list", examples=["canny"])
    controlnet_input_images: list[PictureText] = Field(
        default=[], description="pictures as base64 texts", examples=[[]]
    )
    controlnet_images: list[PictureText] = Field(default=[], description="an older name of controlnet_input_images")


def make_blueprint(folders: ModelFolders, limits: Limits) -> Blueprint:
    """The lists of models and preprocessors, and the maps of pictures."""
    blueprint = Blueprint("a1111_controlnet", __name__, url_prefix=f"/{SCRIPT}")
    blueprint.add_url_rule("/version", "version", lambda: {"version": _VERSION})
    blueprint.add_url_rule("/settings", "settings", lambda: {"control_net_unit_count": MAX_CONTROLS})
    blueprint.add_url_rule("/model_list", "model_list", partial(_model_list, folders))
    blueprint.add_url_rule("/module_list", "module_list", _module_list)
    blueprint.add_url_rule("/control_types", "control_types", partial(_control_types, folders))
    blueprint.add_url_rule("/detect", "detect", partial(_detect, limits), methods=["POST"])
    return blueprint


def model_names(folders: ModelFolders) -> list[str]:
    """The ControlNets and T2I adapters that can be used."""
    return [control["name"] for control in described_controls(folders) if control["problem"] is None]


def _model_list(folders: ModelFolders) -> dict[str, list[str]]:
    return {"model_list": model_names(folders)}


def _module_list() -> dict[str, Any]:
    detail = {name: {"model_free": False, "sliders": []} for name in PREPROCESSORS}
    return {"module_list": list(PREPROCESSORS), "module_detail": detail}


def _control_types(folders: ModelFolders) -> dict[str, Any]:
    models = ["None", *model_names(folders)]
    every = {
        "module_list": list(PREPROCESSORS),
        "model_list": models,
        "default_option": "none",
        "default_model": "None",
    }
    return {"control_types": {"All": every}}


def _detect(limits: Limits) -> dict[str, Any]:
    asked = read_body(Detect)
    pictures = asked.controlnet_input_images or asked.controlnet_images
    if not pictures:
        raise InvalidField("controlnet_input_images", "is missing")
    if len(pictures) > limits.max_num_outputs:
        most = limits.max_num_outputs
        raise OutOfLimits("controlnet_input_images", f"has {len(pictures)} pictures; at most {most} are allowed")
    module = module_of(asked.controlnet_module)
    if module not in PREPROCESSORS:
        able = ", ".join(PREPROCESSORS)
        raise OutOfLimits("controlnet_module", f"is {module[:40]!r}, which this server does not have; valid are {able}")
    return {"images": [base64_text(png) for png in _maps(pictures, module, limits)], "info": "Success"}


def _maps(pictures: list[str], module: str, limits: Limits) -> Iterator[bytes]:
    # A job's maps are no larger, either: they have the size at which the model works.
    most = limits.max_width * limits.max_height
    for text in pictures:
        content = picture_bytes("controlnet_input_images", text)
        image = read_image("controlnet_input_images", content, max_pixels=most)
        with _MAKING:
            made = map_of(image, module)
        yield encode_png(made)
