"""``GET /models``: which models there are, what each can do, and what a form for them may hold."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint
from pydantic_core import PydanticUndefined

from sd_api.generation.engine import ModelAbilities
from sd_api.generation.limits import ranges
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.jobs.queue import JobQueue
from sd_api.settings import Settings
from sd_api.web.plugin.forms import FORMS

# What a model can do is known once it is loaded.
NOT_KNOWN_YET = {"modes": None, "size_multiple": None, "native_size": None}


def make_blueprint(settings: Settings, queue: JobQueue) -> Blueprint:
    """The description of everything that can be asked for."""
    blueprint = Blueprint("models", __name__)
    fields = _fields(settings)

    def models() -> dict[str, Any]:
        status = queue.status()
        main = _described(status.model, None, settings.requires_safety_checker, status.abilities.get(None))
        custom = [
            _described(
                model.ui_label, model.url_path, model.requires_safety_checker, status.abilities.get(model.url_path)
            )
            for model in settings.custom_models
        ]
        return {
            "status": "success",
            "models": [main, *custom],
            "schedulers": list(SCHEDULERS),
            "fields": fields,
            "limits": settings.limits.model_dump(),
        }

    blueprint.add_url_rule("/models", view_func=models)
    return blueprint


def _described(
    label: str, url_path: str | None, requires_safety_checker: bool, abilities: ModelAbilities | None
) -> dict[str, Any]:
    known = NOT_KNOWN_YET if abilities is None else asdict(abilities)
    return {
        "label": label,
        "url_path": url_path,
        "requires_safety_checker": requires_safety_checker,
        # A custom model has one address for all; what the form holds says which is meant.
        "paths": {mode: f"/{mode}" if url_path is None else f"/custom/{url_path}" for mode in FORMS},
        **known,
    }


def _fields(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every field of every form, with its default and range where it has them."""
    described: dict[str, dict[str, Any]] = {}
    for mode, form in FORMS.items():
        for name, field in form.model_fields.items():
            entry = described.setdefault(name, {"modes": []})
            entry["modes"].append(mode)
            if field.default is not PydanticUndefined:
                entry["default"] = field.default
    for name, (lowest, highest) in ranges(settings.limits).items():
        described[name] |= {"minimum": lowest, "maximum": highest}
    for name in ("prompt", "negative_prompt"):
        described[name]["max_length"] = settings.limits.max_prompt_length
    return described
