"""Turns one of pydantic's errors into the rest of a line that starts with the setting's name."""

import difflib
import json

from pydantic_core import ErrorDetails

from sd_api.settings.document import Location, RepeatedKey
from sd_api.settings.fields import MODEL_FILES
from sd_api.settings.models import CustomModel, ModelSettings
from sd_api.settings.schema import Cluster, Limits, Settings

_Section = type[CustomModel] | type[Limits] | type[Cluster] | type[ModelSettings]
_SECTIONS: dict[str, _Section] = {
    "custom_models": CustomModel,
    "limits": Limits,
    "cluster": Cluster,
    "model_settings": ModelSettings,
}
# Settings whose values are never cited, because they are secret.
_SECRETS = ("hf_token", "secret_key", "redis_url", "blobs")
_LONGEST_CITATION = 60
_REASONS = {
    "bool_parsing": "it should be true or false",
    "bool_type": "it should be true or false",
    "float_type": "it should be a number, without quotes",
    "int_type": "it should be a whole number, without quotes",
    "model_type": "it should be an object: { … }",
    "path_type": "it should be a text in double quotes",
    "string_too_short": "it should not be empty",
    "string_type": "it should be a text in double quotes",
    "tuple_type": "it should be an array: [ … ]",
}


def spell(location: Location) -> str:
    """Write a location as ``custom_models[0].url_path``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in location)[1:]


def problem(error: ErrorDetails) -> str:
    """Say what came and what is valid; tokens and secrets are never cited, nor the value of an unknown key."""
    location, kind, came = error["loc"], error["type"], error["input"]
    if isinstance(came, RepeatedKey):
        return "this key comes more than once in its object; keep one"
    if kind == "extra_forbidden":
        return f"this key is unknown; {_suggestion(location)}"
    if kind == "missing":
        return f"this key is missing ({_description(location)})"
    if kind == MODEL_FILES:
        return error["msg"]
    cause = error.get("ctx", {}).get("error")
    reason = str(cause) if cause else _REASONS.get(kind, error["msg"].replace("Input", "it", 1))
    citation = "" if location[-1] in _SECRETS else f"{cite(came)} came, but "
    return f"{citation}{reason} ({_description(location)})"


def cite(value: object) -> str:
    """Write a value as the file has it: short, on one line and printable everywhere."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    printable = not isinstance(value, str) or value.isprintable()
    text = json.dumps(value, ensure_ascii=not printable, default=str)
    return text if len(text) <= _LONGEST_CITATION else f"{text[:_LONGEST_CITATION]}…"


def _name(key: str) -> str:
    return key if key.isidentifier() else cite(key)


def _section(location: Location) -> type[Settings] | _Section:
    return _SECTIONS.get(str(location[0]), Settings) if len(location) > 1 else Settings


def _description(location: Location) -> str | None:
    while isinstance(location[-1], int):
        location = location[:-1]
    return _section(location).model_fields[location[-1]].description


def _suggestion(location: Location) -> str:
    known = list(_section(location).model_fields)
    near = difflib.get_close_matches(str(location[-1]).lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
