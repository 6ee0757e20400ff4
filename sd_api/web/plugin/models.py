"""``GET /models``: which models there are, what each can do, and what a form for them may hold."""

from dataclasses import asdict, fields
from typing import Any

from flask import Blueprint

from sd_api.generation.description import describe_fields
from sd_api.generation.engine import ModelAbilities
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.jobs.queue import JobQueue
from sd_api.settings import Settings
from sd_api.web.plugin.forms import FORMS, PLUGIN, JobForm

# What a model can do is known once it is loaded.
NOT_KNOWN_YET = dict.fromkeys(field.name for field in fields(ModelAbilities))


def make_blueprint(settings: Settings, queue: JobQueue) -> Blueprint:
    """The description of everything that can be asked for."""
    blueprint = Blueprint("models", __name__)
    of_the_job = {
        name: {"modes": list(FORMS), "default": field.default} for name, field in JobForm.model_fields.items()
    }
    described = describe_fields(PLUGIN, settings.limits) | of_the_job

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
            "fields": described,
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
