"""``GET /models``: the models, their capabilities, and the fields of the forms."""

import time
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from flask import Blueprint

from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.description import describe_fields
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.jobs.queue import JobQueue
from sd_api.models.adapters.control_files import described_controls
from sd_api.models.adapters.embedding_files import list_embeddings
from sd_api.models.adapters.ip_adapter_files import described_adapters
from sd_api.models.adapters.lora_files import described_loras
from sd_api.models.catalog import ModelCatalog
from sd_api.models.folders import VAE
from sd_api.models.providers import OfferedModel
from sd_api.settings import Settings
from sd_api.web.client import is_on_this_computer
from sd_api.web.plugin.forms import FORMS, PLUGIN, JobForm
from sd_api.web.plugin.model_schemas import OfferedModel as ModelEntry

# What is said of a model's abilities; the others are for estimates.
SHOWN_ABILITIES = [field.name for field in fields(ModelAbilities) if field.name in ModelEntry.model_fields]


def make_blueprint(settings: Settings, queue: JobQueue) -> Blueprint:
    """The endpoint that lists models, schedulers, fields and limits."""
    blueprint = Blueprint("models", __name__)
    job_fields = {
        name: {"modes": list(FORMS), "default": field.default} for name, field in JobForm.model_fields.items()
    }
    since = int(time.time())
    catalog = ModelCatalog(settings)
    folders = catalog.folders
    described_fields = describe_fields(PLUGIN, settings.limits) | job_fields

    def models() -> dict[str, Any]:
        status = queue.status()
        main = _model_entry(status.model, None, settings.requires_safety_checker, status.abilities.get(None))

        def entries(offered: Iterable[OfferedModel]) -> list[dict[str, Any]]:
            return [
                _model_entry(model.label, model.name, model.requires_safety_checker, status.abilities.get(model.name))
                for model in offered
            ]

        custom = entries(catalog.local)
        downloaded = entries(catalog.downloaded(from_here=is_on_this_computer()))
        return {
            "status": "success",
            "models": [main, *custom, *downloaded],
            # Programs for OpenAI's API whose address lacks /v1 ask here, and read these two only.
            "object": "list",
            "data": [
                {"id": entry["url_path"] or entry["label"], "object": "model", "created": since, "owned_by": "local"}
                for entry in (main, *custom)
            ],
            "schedulers": list(SCHEDULERS),
            "embeddings": list(list_embeddings(folders)),
            "controlnets": described_controls(folders),
            "ip_adapters": described_adapters(folders),
            "loras": [_lora_entry(lora) for lora in described_loras(folders)],
            "vaes": [file.name for file in folders.files(VAE)],
            "fields": described_fields,
            "limits": settings.limits.model_dump(),
        }

    blueprint.add_url_rule("/models", view_func=models)
    return blueprint


def _lora_entry(lora: dict[str, Any]) -> dict[str, Any]:
    # The metadata may be as long as a header; who wants it asks /sdapi/v1/loras.
    shown = {key: value for key, value in lora.items() if key not in ("alias", "metadata")}
    return shown | {"hint": {PLUGIN.name(field): value for field, value in lora["hint"].items()}}


def _model_entry(
    label: str, url_path: str | None, requires_safety_checker: bool, abilities: ModelAbilities | None
) -> dict[str, Any]:
    # They are known only after it has been loaded.
    known = {name: None if abilities is None else getattr(abilities, name) for name in SHOWN_ABILITIES}
    if abilities is not None:
        known["defaults"] = {PLUGIN.name(field): value for field, value in abilities.defaults.items()}
    return {
        "label": label,
        "url_path": url_path,
        "requires_safety_checker": requires_safety_checker,
        # A custom model has one path; the fields of the form select the operation.
        "paths": {mode: f"/{mode}" if url_path is None else f"/custom/{url_path}" for mode in FORMS},
        **known,
    }
