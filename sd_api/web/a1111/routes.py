"""The endpoints that make pictures, and those that watch and stop that. Each decodes, submits, waits, encodes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, after_this_request, request

from sd_api.errors import InvalidField, JobCancelled, RequestError, UnknownJob
from sd_api.generation.operation import OperationName
from sd_api.generation.planned_fields import extends
from sd_api.generation.reading import Reading
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.queue import JobQueue
from sd_api.models.folders import ModelFolders
from sd_api.owners import job_name
from sd_api.settings import Settings
from sd_api.web.a1111 import answers
from sd_api.web.a1111.callers import DIALECT, CallersJobs
from sd_api.web.a1111.forms import A1111, decode_fields
from sd_api.web.a1111.options import A1111Options, Checkpoints, Options
from sd_api.web.a1111.pictures import content_of
from sd_api.web.a1111.requests import JobQuery, ProgressQuery, json_fields, json_object, read_query
from sd_api.web.bearer import JobOwners
from sd_api.web.client import when_client_goes
from sd_api.web.reading import give_up_body

# A job that ended with this reason was interrupted by its own caller before anything was drawn.
_INTERRUPTED = "This job was interrupted."


class ImageNotFound(RequestError):
    """A request for image to image has no image."""

    status = 404


def make_blueprints(
    settings: Settings, queue: JobQueue, owners: JobOwners, checkpoints: Checkpoints
) -> tuple[Blueprint, Blueprint]:
    """The endpoints that make pictures; and those that watch and stop that, with the options that they follow."""
    pictures = Blueprint("a1111", __name__, url_prefix="/sdapi/v1")
    control = Blueprint("a1111_control", __name__, url_prefix="/sdapi/v1")
    endpoints = A1111Endpoints(settings, queue, owners, checkpoints)
    pictures.add_url_rule("/txt2img", view_func=endpoints.txt2img, methods=["POST"])
    pictures.add_url_rule("/img2img", view_func=endpoints.img2img, methods=["POST"])
    control.add_url_rule("/progress", view_func=endpoints.progress)
    control.add_url_rule("/interrupt", view_func=endpoints.interrupt, methods=["POST"])
    control.add_url_rule("/skip", view_func=endpoints.skip, methods=["POST"])
    control.add_url_rule("/options", view_func=endpoints.options)
    control.add_url_rule("/options", "set_options", endpoints.set_options, methods=["POST"])
    return pictures, control


class A1111Endpoints:
    """One method for each endpoint."""

    def __init__(self, settings: Settings, queue: JobQueue, owners: JobOwners, checkpoints: Checkpoints) -> None:
        self._settings = settings
        self._queue = queue
        self._owners = owners
        self._callers_jobs = CallersJobs(queue, owners)
        self._checkpoints = checkpoints
        self._options = Options(checkpoints, ModelFolders.of(settings))

    def txt2img(self) -> dict[str, Any]:
        """Pictures from text."""
        return self._answer(self._submit("txt2img", json_fields()))

    def img2img(self) -> dict[str, Any]:
        """Pictures from an image: all over, or where a mask is white."""
        return self._answer(self._submit_with_image(json_fields()))

    def progress(self) -> dict[str, Any]:
        """The progress of the caller's first job, with a preview unless ``skip_current_image`` says otherwise."""
        asked = read_query(ProgressQuery)
        for job in self._callers_jobs.find(asked.force_task_id):
            try:
                return answers.progress(self._queue.job(job.id, preview=not asked.skip_current_image))
            except UnknownJob:
                # It has ended meanwhile.
                continue
        return answers.progress(None)

    def interrupt(self) -> dict[str, Any]:
        """End the caller's jobs, and no others, with their pictures as they are."""
        return self._end(self._callers_jobs.find(read_query(JobQuery).force_task_id))

    def skip(self) -> dict[str, Any]:
        """End the caller's job that runs, and no other, with its pictures as they are."""
        return self._end(self._callers_jobs.find(read_query(JobQuery).force_task_id)[:1])

    def options(self) -> dict[str, Any]:
        """The options of this server process."""
        return self._options.current.model_dump()

    def set_options(self) -> Response:
        """Change some options; unknown ones are kept and given back."""
        self._options.change(json_object())
        return Response("null", mimetype="application/json")

    def _end(self, jobs: list[JobStatus]) -> dict[str, Any]:
        for job in jobs:
            # It may have ended meanwhile, and be forgotten.
            with suppress(UnknownJob):
                self._queue.stop_early(job.id, _INTERRUPTED)
        return {}

    def _submit_with_image(self, fields: dict[str, Any]) -> "_Submitted":
        images = fields.get("init_images")
        images = images if isinstance(images, list) else [images]
        if not any(images):
            raise ImageNotFound("Init image not found")
        if len(images) > 1:
            raise InvalidField("init_images", f"came with {len(images)} images; the models of this server take one")
        fields["init_images"] = images[0]
        masked = "mask" in fields or extends(fields.get("extend"))
        return self._submit("masking" if masked else self._redraws(fields), fields)

    def _submit(self, operation: OperationName, fields: Mapping[str, Any]) -> "_Submitted":
        options = self._options_of(fields)
        checkpoint = options.sd_model_checkpoint
        reading = Reading(limits=self._settings.limits, content=content_of(fields, operation, self._settings.limits))
        spec, asked = decode_fields(fields, operation, reading, self._checkpoints.model(checkpoint), options.fields)
        if not asked.override_settings_restore_afterwards:
            self._options.change(asked.override_settings)
        job = self._owners.submit(self._queue, spec, asked.force_task_id, dialect=DIALECT)
        return _Submitted(job, checkpoint, answers.sent_back(asked, fields), asked.send_images)

    def _answer(self, submitted: "_Submitted") -> dict[str, Any]:
        job = submitted.job
        give_up_body(request)

        @after_this_request
        def name_job(response: Response) -> Response:
            response.headers["X-Job-Id"] = job_name(job.id)
            return response

        try:
            with when_client_goes(lambda: self._cancel(job)):
                result = job.result()
        except JobCancelled as error:
            if error.message != _INTERRUPTED:
                raise
            result = GenerationResult(images=())
        except InvalidField as error:
            # What only the model could refuse has the field's canonical name.
            raise type(error)(A1111.name(error.field), error.problem) from None
        sent_back = submitted.sent_back
        return answers.generation(result, job.spec, sent_back, submitted.checkpoint, send_images=submitted.send_images)

    def _options_of(self, fields: Mapping[str, Any]) -> A1111Options:
        overriding = fields.get("override_settings")
        return self._options.with_changes(overriding if isinstance(overriding, dict) else {})

    def _redraws(self, fields: Mapping[str, Any]) -> OperationName:
        """Models that were made for instructions follow these; all others redraw."""
        model = self._checkpoints.model(self._options_of(fields).sd_model_checkpoint)
        abilities = self._queue.status().abilities.get(model)
        return "edit" if abilities is not None and "edit" in abilities.modes else "img2img"

    def _cancel(self, job: Job) -> None:
        if self._settings.cancel_when_client_goes:
            self._queue.cancel(job.id, "The client closed its connection.")


@dataclass(frozen=True)
class _Submitted:
    """A request whose job waits; its images are only in the job, so that they are in memory once.

    Attributes:
        job: The job.
        checkpoint: The title of its model.
        sent_back: The request without its images.
        send_images: See ``Asked``.
    """

    job: Job
    checkpoint: str
    sent_back: Mapping[str, Any]
    send_images: bool
