"""The endpoints of the Photoshop plugin. Each decodes, submits, waits, encodes."""

from typing import Any

from flask import Blueprint, Response, after_this_request, request

from sd_api.errors import RequestError
from sd_api.generation.request import Mode
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.results_cache import ResultsCache
from sd_api.settings import CustomModel, Settings
from sd_api.web.client import client_name, when_client_goes
from sd_api.web.plugin.answers import described, success
from sd_api.web.plugin.forms import decode_form, decode_job_form

Answer = dict[str, Any] | tuple[dict[str, Any], int]


def make_blueprint(settings: Settings, queue: JobQueue, results: ResultsCache) -> Blueprint:
    """The plugin's endpoints over ``queue``; ``results`` caches those of jobs with ``wait=false``."""
    blueprint = Blueprint("plugin", __name__)
    endpoints = PluginEndpoints(settings, queue, results)
    blueprint.add_url_rule("/ping", view_func=endpoints.ping)
    blueprint.add_url_rule("/custom_models", view_func=endpoints.custom_models)
    blueprint.add_url_rule("/txt2img", view_func=endpoints.txt2img, methods=["POST"])
    blueprint.add_url_rule("/img2img", view_func=endpoints.img2img, methods=["POST"])
    blueprint.add_url_rule("/masking", view_func=endpoints.masking, methods=["POST"])
    blueprint.add_url_rule("/custom/<path:url_path>", view_func=endpoints.custom, methods=["POST"])
    return blueprint


class PluginEndpoints:
    """One method for each endpoint."""

    def __init__(self, settings: Settings, queue: JobQueue, results: ResultsCache) -> None:
        self._settings = settings
        self._queue = queue
        self._results = results

    def ping(self) -> dict[str, Any]:
        """Tell that the server is there, whatever it is doing."""
        return {"status": "success"}

    def custom_models(self) -> list[dict[str, Any]]:
        """The custom models of the configuration, as the configuration names them."""
        return [_described(model) for model in self._settings.custom_models]

    def txt2img(self) -> Answer:
        """Text to image with the main model."""
        return self._generate("txt2img")

    def img2img(self) -> Answer:
        """Image to image with the main model."""
        return self._generate("img2img")

    def masking(self) -> Answer:
        """Replace what the mask shows in white, with the main model."""
        return self._generate("masking")

    def custom(self, url_path: str) -> Answer:
        """What the form's images ask for, with a custom model."""
        self._settings.custom_model(url_path)
        if "mask_image" in request.form:
            return self._generate("masking", url_path)
        return self._generate("img2img" if "init_image" in request.form else "txt2img", url_path)

    def _generate(self, mode: Mode, model: str | None = None) -> Answer:
        if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
            raise RequestError(
                f"The request's content type is {request.mimetype or 'missing'}; send a form "
                "(application/x-www-form-urlencoded)."
            )
        if request.files:
            raise RequestError(f"{', '.join(request.files)}: came as a file; send images as base64 text.")
        generation = decode_form(request.form, mode, self._settings.limits, model)
        form = decode_job_form(request.form)
        job = self._queue.submit(generation, job_id=form.job_id, client=client_name())

        @after_this_request
        def name_job(response: Response) -> Response:
            response.headers["X-Job-Id"] = job.id
            return response

        if not form.wait:
            self._results.cache_result(job)
            return {"status": "success", "job": described(self._queue.job(job.id))}, 202

        def cancel() -> None:
            if self._settings.cancel_when_client_goes:
                self._queue.cancel(job.id, "The client closed its connection.")

        with when_client_goes(cancel):
            return success(job.result())


def _described(model: CustomModel) -> dict[str, Any]:
    return {
        "model_path": str(model.model_path),
        "ui_label": model.ui_label,
        "url_path": model.url_path,
        "requires_safety_checker": model.requires_safety_checker,
    }
