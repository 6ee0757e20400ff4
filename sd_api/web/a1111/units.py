"""ControlNet's units, as the web UI's extension takes them in ``alwayson_scripts``, as entries of ``controls``."""

import re
from collections.abc import Mapping
from typing import Any

from sd_api.errors import InvalidField
from sd_api.generation.controls import CONTROL_MODES
from sd_api.generation.refusals import in_short
from sd_api.imaging.controls import CANNY_HIGH, CANNY_LOW, KINDS

SCRIPT = "controlnet"
"""The name of the extension in ``alwayson_scripts``, in lower case."""

_NOTHING = frozenset({"", "none", "null"})

# By their numbers, and by how their names begin.
_RESIZES = {"just": "stretch", "crop": "crop", "scale": "crop", "resize": "fill", "envelope": "fill"}
_RESIZES |= {"0": "stretch", "1": "crop", "2": "fill", "inner": "crop", "outer": "fill"}

# The names that the extension gives to what union models know, in the order of ``KINDS``.
_UNION_TYPES = (
    *("openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/mlsd"),
    *("normal map", "segmentation", "tile", "inpaint"),
)

# The extension's names of what is offered here under a shorter one.
_MODULES = {"lineart_standard": "lineart", "scribble_xdog": "scribble", "tile_resample": "tile", "clip": "none"}

# Which decides, by their numbers and their names.
_MODES = {str(number): mode for number, mode in enumerate(CONTROL_MODES)}
_MODES |= {label.lower(): mode for mode, label in CONTROL_MODES.items()}

# What a unit may have that changes a picture, with the values that change nothing here: those that clients send of
# themselves, and those that are as it is here.
_NO_EFFECT: Mapping[str, frozenset[str]] = {
    "mask": frozenset(),
    "mask_image": frozenset(),
    "processor_res": frozenset({"-1", "0", "64", "512"}),
}
# The thresholds of canny.
_THRESHOLDS: Mapping[str, int] = {"threshold_a": CANNY_LOW, "threshold_b": CANNY_HIGH}


def units_of(scripts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The units of a request that act."""
    found = [unit for name, script in scripts.items() if name.lower() == SCRIPT for unit in arguments(script)]
    return [unit for unit in found if isinstance(unit, dict) and _acts(unit)]


def arguments(script: Any) -> list[Any]:
    """The arguments of an extension, in whichever form they come."""
    listed = script.get("args", script.get("units")) if isinstance(script, dict) else script
    return listed if isinstance(listed, list) else [listed] if listed else []


def entry_of(unit: Mapping[str, Any], number: int, warnings: list[str]) -> dict[str, Any]:
    """A unit as an entry of ``controls``.

    Args:
        unit: What came.
        number: Its place among those that act, counted from 0.
        warnings: Takes sentences about what has no effect here.

    Raises:
        InvalidField: It has no model; modules that act without one are not here.
    """
    if _means_nothing(unit.get("model")):
        module = in_short(unit.get("module"))
        problem = f"asks in unit {number} of ControlNet for {module!r} without a model, which this server does not have"
        raise InvalidField("alwayson_scripts", problem)
    for name, harmless in _NO_EFFECT.items():
        value = unit.get(name)
        if not _means_nothing(value) and in_short(value).lower() not in harmless:
            warnings.append(f"{name} of ControlNet's unit {number} has no effect here and was ignored.")
    if module_of(unit.get("module")) == "canny":
        for name, value in _THRESHOLDS.items():
            if in_short(unit.get(name, -1)) not in ("-1", "-1.0", str(value), f"{value}.0"):
                warnings.append(f"{name} of ControlNet's unit {number} has no effect here: canny has {value}.")
    image = unit.get("image") or unit.get("input_image")
    entry = {
        "model": unit["model"],
        # Some programs send a picture with the mask of where it acts.
        "image": image.get("image") if isinstance(image, dict) else image,
        "preprocessor": module_of(unit.get("module")),
        "weight": unit.get("weight"),
        "start": unit.get("guidance_start"),
        "end": unit.get("guidance_end", unit.get("guidance")),
        "resize": _resize(unit.get("resize_mode", 1)),
        "kind": _kind(unit.get("union_control_type")),
        "mode": _mode(unit),
    }
    return {name: value for name, value in entry.items() if value is not None and value != ""}


def module_of(name: Any) -> str:
    """A preprocessor by the name that the extension has for it; one that is not here stays as it is."""
    if _means_nothing(name):
        return "none"
    # Behind the name stands in brackets what it is for, of which the end may be cut off.
    short = in_short(name).partition("(")[0].strip().lower()
    short = _MODULES.get(short, short)
    return "inpaint" if short.startswith("inpaint") else short


def _acts(unit: Mapping[str, Any]) -> bool:
    if in_short(unit.get("enabled", True)).lower() in ("false", "0"):
        return False
    return not (_means_nothing(unit.get("model")) and _means_nothing(unit.get("module")))


def _means_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and in_short(value).strip().lower() in _NOTHING)


def _resize(mode: Any) -> str:
    """How a picture is resized; what is not known is refused with the field."""
    word = re.split(r"\W", in_short(mode).strip().lower())[0]
    return _RESIZES.get(word, in_short(mode))


def _mode(unit: Mapping[str, Any]) -> str:
    """Which decides; what is not known is refused with the field."""
    guesses = in_short(unit.get("guessmode", False)).lower() in ("true", "1")
    mode = unit.get("control_mode")
    said = "balanced" if _means_nothing(mode) else in_short(mode).strip().lower()
    return "control" if guesses else _MODES.get(said, in_short(mode))


def _kind(union_type: Any) -> str | None:
    word = in_short(union_type).lower()
    return KINDS[_UNION_TYPES.index(word)] if word in _UNION_TYPES else None
