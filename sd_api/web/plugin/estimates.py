"""``POST /estimate``: what a form would take, without running it."""

from typing import Any

from flask import Blueprint, request
from pydantic import Field
from werkzeug.datastructures import MultiDict

from sd_api.errors import InvalidField, InvalidFields
from sd_api.generation.operation import OperationName
from sd_api.generation.operations import OPERATIONS
from sd_api.jobs.estimates import estimate
from sd_api.jobs.queue import JobQueue
from sd_api.models.catalog import ModelCatalog
from sd_api.settings import Settings
from sd_api.web.client import is_on_this_computer
from sd_api.web.estimates import estimate_json
from sd_api.web.plugin.documents import Pictures
from sd_api.web.plugin.forms import PLUGIN, JobForm, decode_form, sent_once, without
from sd_api.web.plugin.routes import operation_of, sent_form
from sd_api.web.reading import give_up_body


class EstimateFields(JobForm):
    """What this endpoint takes besides the fields of a form; images are needed where the form needs them."""

    operation: OperationName | None = Field(
        default=None,
        description="the form that the fields are for; without it, they select it as those for /custom do",
        examples=["txt2img"],
    )
    url_path: str = Field(
        default="", description="a custom model; empty is the main model", examples=["", "my_first_model"]
    )


EstimateForm = PLUGIN.model(OPERATIONS["txt2img"], "EstimateForm", EstimateFields)
"""The form for OpenAPI, with the fields of text to image; those of the other forms come in their place."""


def make_blueprint(settings: Settings, queue: JobQueue, pictures: Pictures) -> Blueprint:
    """The endpoint over the jobs and the measured times of ``queue``."""
    blueprint = Blueprint("estimates", __name__)
    catalog = ModelCatalog(settings)

    def estimate_form() -> dict[str, Any]:
        form = sent_form()
        model = catalog.named(sent_once(form, "url_path") or None, from_here=is_on_this_computer())
        fields = without(form, EstimateFields)
        spec, _ = decode_form(fields, _operation(form), settings.limits, pictures.read, model.name)
        give_up_body(request)
        return {"status": "success", "estimate": estimate_json(estimate(queue, spec, model, catalog.folders))}

    blueprint.add_url_rule("/estimate", "estimate", estimate_form, methods=["POST"])
    return blueprint


def _operation(form: MultiDict[str, str]) -> OperationName:
    asked = sent_once(form, "operation")
    if not asked:
        return operation_of(form)
    for name in OPERATIONS:
        if name == asked:
            return name
    raise InvalidFields([InvalidField("operation", f"is {asked[:40]!r}; valid are {', '.join(OPERATIONS)}")])
