"""The endpoints of the Photoshop plugin. Each decodes, submits, waits, encodes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Response, after_this_request, request
from werkzeug.datastructures import MultiDict

from sd_api.errors import RequestError
from sd_api.generation.operation import OperationName
from sd_api.generation.operations import OPERATIONS
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.results_cache import ResultsCache
from sd_api.models.catalog import ModelCatalog
from sd_api.owners import job_name
from sd_api.settings import CustomModel, Settings
from sd_api.web.bearer import JobOwners
from sd_api.web.client import is_on_this_computer, when_client_goes
from sd_api.web.plugin.answers import job_entry, success
from sd_api.web.plugin.documents import Pictures
from sd_api.web.plugin.forms import decode_form
from sd_api.web.png_answers import picture_answer, png_wanted
from sd_api.web.reading import give_up_body

Answer = dict[str, Any] | tuple[dict[str, Any], int] | Response

# A form for a custom model selects its operation by the first of these fields that it has; without any, text to image.
_OPERATION_BY_FIELD: Mapping[str, OperationName] = {
    "mask_image": "masking",
    "extend": "masking",
    "image_guidance_scale": "edit",
    "init_image": "img2img",
}


def make_blueprint(
    settings: Settings, queue: JobQueue, results: ResultsCache, owners: JobOwners, pictures: Pictures
) -> Blueprint:
    """The plugin's endpoints over ``queue``; ``results`` caches those of jobs with ``wait=false`` for their owners."""
    blueprint = Blueprint("plugin", __name__)
    endpoints = PluginEndpoints(settings, queue, results, owners, pictures)
    blueprint.add_url_rule("/ping", view_func=endpoints.ping)
    blueprint.add_url_rule("/custom_models", view_func=endpoints.custom_models)
    for name in OPERATIONS:
        blueprint.add_url_rule(f"/{name}", name, partial(endpoints.generate, name), methods=["POST"])
    blueprint.add_url_rule("/custom/<path:url_path>", view_func=endpoints.custom, methods=["POST"])
    return blueprint


def sent_form() -> MultiDict[str, str]:
    """The form of the current request.

    Raises:
        RequestError: it is no form, or has files.
    """
    if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise RequestError(
            f"The request's content type is {request.mimetype or 'missing'}; send a form "
            "(application/x-www-form-urlencoded)."
        )
    if request.files:
        raise RequestError(f"{', '.join(request.files)}: came as a file; send images as base64 text.")
    return request.form


def operation_of(form: MultiDict[str, str]) -> OperationName:
    """The operation that a form's fields select."""
    return next((operation for field, operation in _OPERATION_BY_FIELD.items() if field in form), "txt2img")


class PluginEndpoints:
    """One method for each endpoint."""

    def __init__(
        self, settings: Settings, queue: JobQueue, results: ResultsCache, owners: JobOwners, pictures: Pictures
    ) -> None:
        self._settings = settings
        self._catalog = ModelCatalog(settings)
        self._queue = queue
        self._results = results
        self._owners = owners
        self._pictures = pictures

    def ping(self) -> dict[str, Any]:
        """Answer at once, whatever the server is doing."""
        return {"status": "success"}

    def custom_models(self) -> list[dict[str, Any]]:
        """The custom models of the configuration, with the configuration's names for their fields."""
        return [_custom_model_entry(model) for model in self._settings.custom_models]

    def custom(self, url_path: str) -> Answer:
        """Run the operation that the form's fields select, with a model other than the main one."""
        return self.generate(
            operation_of(request.form), self._catalog.at_path(url_path, from_here=is_on_this_computer())
        )

    def generate(self, operation: OperationName, model: str | None = None) -> Answer:
        """Run one operation with one model; None is the main model."""
        spec, form = decode_form(sent_form(), operation, self._settings.limits, self._pictures.read, model)
        as_png = form.wait and png_wanted(len(spec.seeds))
        job = self._owners.submit(self._queue, spec, form.job_id or None, dialect="plugin")
        give_up_body(request)

        @after_this_request
        def name_job(response: Response) -> Response:
            response.headers["X-Job-Id"] = job_name(job.id)
            return response

        if not form.wait:
            self._results.cache_result(job)
            return {"status": "success", "job": job_entry(self._queue.job(job.id))}, 202

        def cancel() -> None:
            if self._settings.cancel_when_client_goes:
                self._queue.cancel(job.id, "The client closed its connection.")

        with when_client_goes(cancel):
            result = job.result()
        return picture_answer(job_name(job.id), result.images[0], result.warnings) if as_png else success(result)


def _custom_model_entry(model: CustomModel) -> dict[str, Any]:
    return {
        "model_path": str(model.model_path),
        "ui_label": model.ui_label,
        "url_path": model.url_path,
        "requires_safety_checker": model.requires_safety_checker,
    }
