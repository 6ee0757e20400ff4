"""Controls in each dialect: what a request becomes, and what is refused in the dialect's words."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import photograph, png, to_base64
from werkzeug.datastructures import MultiDict

from sd_api.errors import InvalidFields, RequestError
from sd_api.generation.controls import Control
from sd_api.generation.metadata import parameters_text
from sd_api.generation.operation import OperationName
from sd_api.generation.reading import Reading
from sd_api.generation.spec import JobSpec
from sd_api.imaging.base64_text import decode_base64
from sd_api.settings import Limits
from sd_api.web.a1111.forms import decode_fields
from sd_api.web.a1111.pictures import content_of
from sd_api.web.plugin.forms import decode_form

LIMITS = Limits()
MAP = to_base64(photograph(40, 30))


def of_form(controls: Any, mode: OperationName = "txt2img", **fields: str) -> JobSpec:
    text = controls if isinstance(controls, str) else json.dumps(controls)
    form = MultiDict({"prompt": "a dog", "controls": text, **fields})
    return decode_form(form, mode, LIMITS, decode_base64)[0]


def of_units(*units: Any, operation: OperationName = "txt2img", **fields: Any) -> tuple[JobSpec, list[str]]:
    came = {"prompt": "a dog", "alwayson_scripts": {"ControlNet": {"args": list(units)}}, **fields}
    reading = Reading(limits=LIMITS, content=content_of(came, operation, LIMITS))
    return decode_fields(came, operation, reading, None, {})[0], reading.warnings


def test_a_form_has_them_as_json() -> None:
    entry = {"model": "canny", "image": MAP, "preprocessor": "canny", "weight": "0.5", "end": 0.75, "resize": "crop"}
    spec = of_form([entry, {"model": "depth", "image": MAP, "kind": "depth"}])
    first, second = spec.operation.controls
    assert (first.model, first.preprocessor, first.weight, first.end, first.resize) == (
        "canny",
        "canny",
        0.5,
        0.75,
        "crop",
    )
    assert (second.model, second.weight, second.start, second.end, second.shown) == ("depth", 1.0, 0.0, 1.0, "depth")
    assert first.image is not None
    assert first.image.size == (40, 30)
    assert spec.memory >= 2 * len(png(photograph(40, 30)))
    assert of_form("").operation.controls == ()
    own = of_form([{"model": "tile", "preprocessor": "tile"}], "img2img", init_image=MAP, strength="0.5")
    assert own.operation.controls == (Control(model="tile", preprocessor="tile"),)


@pytest.mark.parametrize(
    ("controls", "problem"),
    [
        ([{"image": MAP}], "controls.0.model is missing"),
        ([{"model": "canny"}], "controls.0.image is missing; txt2img has no image of its own"),
        ([{"model": "canny", "image": MAP, "weight": 3}], "controls.0.weight is 3"),
        ([{"model": "canny", "image": MAP, "start": 0.5, "end": 0.25}], "it must be at most end, which is 0.25"),
        ([{"model": "canny", "image": MAP, "preprocessor": "depth_midas"}], "depth_midas, a network that this server"),
        ([{"model": "canny", "image": MAP, "preprocessor": "edges"}], "valid are none, canny"),
        ([{"model": "canny", "image": MAP, "preprocessor": "inpaint"}], "is inpaint, which takes a mask"),
        ([{"model": "canny", "image": MAP, "strength": 1}], "controls.0.strength is not known here"),
        ([{"model": "canny", "image": "QUJD"}], "controls.0.image is not a picture"),
        ([{"model": "canny", "image": MAP}] * 5, "has 5; at most 4"),
        ("[{", "is no valid JSON"),
    ],
)
def test_what_is_wrong_with_one_is_said(controls: Any, problem: str) -> None:
    with pytest.raises(InvalidFields) as refusal:
        of_form(controls)
    assert problem in refusal.value.message


def test_units_of_the_web_uis_extension_are_controls() -> None:
    unit = {
        "enabled": True,
        "module": "lineart_standard (from white bg & black line)",
        "model": "control_v11p_sd15_canny [d14c016b]",
        "weight": 0.75,
        "input_image": f"data:image/png;base64,{MAP}",
        "resize_mode": "Resize and Fill",
        "guidance_start": 0.25,
        "guidance_end": 0.5,
        "control_mode": "My prompt is more important",
        "pixel_perfect": True,
        "threshold_a": 64,
    }
    off = {"enabled": False, "module": "canny", "model": "x"}
    nothing = {"module": "none", "model": "None"}
    other = {"model": "union", "image": {"image": MAP, "mask": MAP}, "union_control_type": "canny/lineart/mlsd"}
    spec, warnings = of_units(off, unit, nothing, other)
    first, second = spec.operation.controls
    assert (first.model, first.preprocessor, first.weight) == (unit["model"], "lineart", 0.75)
    assert (first.start, first.end, first.resize) == (0.25, 0.5, "fill")
    assert (second.resize, second.kind, second.preprocessor) == ("crop", "canny", "none")
    assert second.image is not None
    assert second.image.pixels.tobytes() == photograph(40, 30).tobytes()
    assert (first.mode, second.mode, warnings) == ("prompt", "balanced", [])
    guessing, warned = of_units({"model": "a", "image": MAP, "module": "canny", "guessmode": True, "threshold_a": 30})
    assert guessing.operation.controls[0].mode == "control"
    assert warned == ["threshold_a of ControlNet's unit 0 has no effect here: canny has 100."]
    with pytest.raises(InvalidFields, match="mode"):
        of_units({"model": "a", "image": MAP, "control_mode": "mine"})
    text = parameters_text(spec, spec.pictures[0], scheduler="euler", model="m")
    assert 'ControlNet 0: "Module: lineart, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.75, ' in text
    assert "Control Mode: My prompt is more important" in text
    assert "Resize Mode: Resize and Fill" in text
    # Those of image to image follow its image.
    own, _ = of_units({"model": "tile", "module": "tile_resample"}, operation="img2img", init_images=MAP)
    assert own.operation.controls == (Control(model="tile", preprocessor="tile", resize="crop"),)


@pytest.mark.parametrize(
    ("unit", "problem"),
    [
        ({"module": "reference_only"}, "for 'reference_only' without a model"),
        ({"model": "x", "module": "openpose_full", "image": MAP}, "openpose_full, a network that this server"),
        ({"model": "x", "resize_mode": 7, "image": MAP}, "controls.0.resize is '7'"),
        ({"model": "x"}, "controls.0.image is missing"),
    ],
)
def test_units_that_cannot_act_are_refused(unit: dict[str, Any], problem: str) -> None:
    with pytest.raises(RequestError) as refusal:
        of_units(unit)
    assert problem in refusal.value.message


def test_maps_are_shown(client: FlaskClient) -> None:
    asked = {"controlnet_module": "invert", "controlnet_input_images": [MAP, MAP]}
    made = client.post("/controlnet/detect", json=asked).get_json()
    assert (len(made["images"]), made["info"]) == (2, "Success")
    for field, value in (("controlnet_module", "depth"), ("controlnet_input_images", [])):
        refused = client.post("/controlnet/detect", json=asked | {field: value})
        assert (refused.status_code, field in refused.get_json()["detail"]) == (422, True)
    large = asked | {"controlnet_input_images": [to_base64(photograph(300, 256))]}
    refused = client.post("/controlnet/detect", json=large)
    assert (refused.status_code, "pixels" in refused.get_json()["detail"]) == (422, True)
    listed = client.get("/controlnet/module_list").get_json()["module_list"]
    offered = client.get("/models").get_json()
    assert listed == offered["fields"]["controls"]["entries"]["preprocessor"]["choices"]
    assert offered["controlnets"] == []
