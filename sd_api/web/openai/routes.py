"""The endpoints of OpenAI's images API. Each reads, decodes, submits, waits, encodes."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, after_this_request, request, stream_with_context

from sd_api.errors import InvalidField, RequestError, UnknownJob, UnknownModel
from sd_api.generation.operation import OperationName
from sd_api.generation.planned_fields import extends
from sd_api.generation.reading import Reading
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.imaging.encoding import convert_png
from sd_api.imaging.json_text import TooManyFields
from sd_api.jobs.job import Job
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.results_cache import ResultsCache
from sd_api.models.catalog import ModelCatalog
from sd_api.models.sources import parse_source
from sd_api.owners import job_name
from sd_api.settings import Settings
from sd_api.web.bearer import JobOwners
from sd_api.web.client import when_client_goes
from sd_api.web.conversions import Conversions
from sd_api.web.openai import answers
from sd_api.web.openai.forms import Options, decode_fields, size_of
from sd_api.web.openai.pictures import (
    Links,
    mask_file,
    mask_of_alpha,
    picture_bytes,
    reference_entries,
    resized_file,
)
from sd_api.web.openai.streams import events
from sd_api.web.reading import give_up_body

# Where nothing says how large the model's pictures are.
USUAL_SIDE = 512

# Fields of a JSON object; a form may have as many.
MOST_FIELDS = 1000

# OpenAI's names of the fields that hold pictures, and ours.
_PICTURES = {"image": "image", "image[]": "image", "images": "image", "mask": "mask"}

# The field that takes every image of an edit but the first, and images with what is said of them.
_REFERENCES = ("references", "references[]")


def make_blueprint(
    settings: Settings, queue: JobQueue, results: ResultsCache, links: Links, owners: JobOwners
) -> Blueprint:
    """The endpoints that make pictures and list models."""
    blueprint = Blueprint("openai", __name__, url_prefix="/v1")
    endpoints = OpenAIEndpoints(settings, queue, results, links, owners)
    blueprint.add_url_rule("/images/generations", view_func=endpoints.generations, methods=["POST"])
    blueprint.add_url_rule("/images/edits", view_func=endpoints.edits, methods=["POST"])
    blueprint.add_url_rule("/images/variations", view_func=endpoints.variations, methods=["POST"])
    blueprint.add_url_rule("/models", view_func=endpoints.models)
    blueprint.add_url_rule("/models/<path:model_id>", view_func=endpoints.model)
    blueprint.after_request(_say_whether_to_retry)
    return blueprint


def make_links_blueprint(results: ResultsCache, links: Links) -> Blueprint:
    """The endpoint of the links; it needs no token, because the link itself is signed."""
    blueprint = Blueprint("openai_links", __name__, url_prefix="/v1")
    conversions = Conversions()

    def linked(name: str) -> Response:
        job_id, number, output, compression = links.read(name)
        outcome = results.cached_result(job_id)
        if not isinstance(outcome, GenerationResult):
            raise UnknownJob("This picture is not kept any more; links are valid for an hour at most.")
        png = outcome.images[number].png
        picture = conversions.get((job_id, number, output, compression), lambda: convert_png(png, output, compression))
        response = Response(picture, mimetype=f"image/{output}")
        response.cache_control.private = True
        return response

    blueprint.add_url_rule("/images/results/<name>", view_func=linked)
    return blueprint


class OpenAIEndpoints:
    """One method for each endpoint."""

    def __init__(
        self, settings: Settings, queue: JobQueue, results: ResultsCache, links: Links, owners: JobOwners
    ) -> None:
        self._settings = settings
        self._owners = owners
        self._queue = queue
        self._results = results
        self._links = links
        self._catalog = ModelCatalog(settings)
        self._main = parse_source(settings.model).label
        self._since = int(time.time())

    def models(self) -> dict[str, Any]:
        """The main model, then the custom models of the configuration and those in the folders of models."""
        return {"object": "list", "data": [self._model_entry(name) for name in self._names()]}

    def model(self, model_id: str) -> dict[str, Any]:
        """One model."""
        if model_id not in self._names():
            raise UnknownModel(f"There is no model {model_id[:100]!r}; this server has {', '.join(self._names())}.")
        return self._model_entry(model_id)

    def generations(self) -> Any:
        """Pictures from text."""
        fields = _fields()
        size = size_of(fields, self._settings.limits) or self._native_size(fields)
        return self._make("txt2img", {**fields, "width": size[0], "height": size[1]}, "image_generation")

    def edits(self) -> Any:
        """A picture that is changed: where a mask is transparent, as an instruction says, or all over."""
        fields = _fields()
        operation: OperationName = "edit" if "edit" in self._modes(fields) else "img2img"
        hole = "mask" not in fields and self._has_hole(fields)
        if hole or "mask" in fields or extends(fields.get("extend")):
            operation = "masking"
            fields = {"strength": 1.0, **({"mask": fields["image"]} if hole else {}), **fields}
        return self._make(operation, fields, "image_edit")

    def variations(self) -> Any:
        """Pictures that resemble one."""
        return self._make("img2img", {"prompt": "", **_fields()}, "image_edit")

    def _make(self, operation: OperationName, fields: Mapping[str, Any], kind: str) -> Any:
        limits = self._settings.limits
        size, most = size_of(fields, limits), limits.max_image_pixels

        def content(field: str, value: bytes) -> bytes:
            if field == "mask":
                return mask_file(field, value, size, max_pixels=most)
            # References stay as they are.
            return value if size is None or field != "image" else resized_file(field, value, size, max_pixels=most)

        reading = Reading(limits=limits, content=content)
        spec, options = decode_fields(fields, operation, reading, self._model_of(fields))
        return self._answer(spec, options, kind)

    def _answer(self, spec: JobSpec, options: Options, kind: str) -> Any:
        job = self._owners.submit(self._queue, spec, dialect="openai")
        give_up_body(request)

        @after_this_request
        def name_job(response: Response) -> Response:
            response.headers["X-Job-Id"] = job_name(job.id)
            return response

        if options.stream:
            return Response(stream_with_context(self._stream(job, options, kind)), mimetype="text/event-stream")
        if options.answers_with_links:
            self._results.cache_result(job)
        with when_client_goes(lambda: self._cancel(job)):
            result = job.result()
        answers.check_flags(result)

        def link(number: int) -> str:
            name = self._links.sign(job.id, number, options.output_format, options.output_compression)
            return f"{request.host_url}v1/images/results/{name}"

        return answers.pictures(result, options, spec.size, link if options.answers_with_links else None)

    def _stream(self, job: Job, options: Options, kind: str) -> Iterator[str]:
        try:
            with when_client_goes(lambda: self._cancel(job)):
                yield from events(self._queue, job, options, kind)
        finally:
            if not job.ended:
                self._cancel(job)

    def _cancel(self, job: Job) -> None:
        if self._settings.cancel_when_client_goes:
            self._queue.cancel(job.id, "The client closed its connection.")

    def _names(self) -> list[str]:
        return [self._main, *(model.name for model in self._catalog.local)]

    def _model_entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "local"}

    def _model_of(self, fields: Mapping[str, Any]) -> str | None:
        """The model of ``models`` that a request names; any other name is the main model."""
        name = fields.get("model")
        if not isinstance(name, str) or name == self._main:
            return None
        try:
            return self._catalog.offered(name).name
        except UnknownModel:
            return None

    def _native_size(self, fields: Mapping[str, Any]) -> tuple[int, int]:
        abilities = self._queue.status().abilities.get(self._model_of(fields))
        limits = self._settings.limits
        side = (abilities and abilities.native_size) or USUAL_SIDE
        return min(side, limits.max_width), min(side, limits.max_height)

    def _modes(self, fields: Mapping[str, Any]) -> tuple[OperationName, ...]:
        abilities = self._queue.status().abilities.get(self._model_of(fields))
        return () if abilities is None else abilities.modes

    def _has_hole(self, fields: Mapping[str, Any]) -> bool:
        if "image" not in fields:
            return False
        most = self._settings.limits.max_image_pixels
        return mask_of_alpha("image", fields["image"], max_pixels=most) is not None


def _fields() -> dict[str, Any]:
    """The fields of the request, of a form or of JSON, each picture as the bytes of its file.

    Null, and an empty text in place of anything but a prompt, say that nothing is given.
    """
    if request.mimetype == "multipart/form-data":
        came: dict[str, list[Any]] = {name: request.form.getlist(name) for name in request.form}
        for name in request.files:
            came[name] = [*came.get(name, []), *request.files.getlist(name)]
    else:
        # Its pictures are decoded from it, and the rest need not be kept.
        content = request.get_json(force=True, cache=False)
        if not isinstance(content, dict):
            raise RequestError("The body is no JSON object; send one, or a form (multipart/form-data).")
        if len(content) > MOST_FIELDS:
            raise TooManyFields(f"The JSON has more than {MOST_FIELDS} fields.")
        came = {
            name: value if name in (*_PICTURES, *_REFERENCES) and isinstance(value, list) else [value]
            for name, value in content.items()
            if value is not None
        }
    return _without_lists(came)


def _without_lists(came: Mapping[str, list[Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    pictures: dict[str, list[Any]] = {}
    references: list[Any] = []
    for name, values in came.items():
        if name in _PICTURES:
            pictures.setdefault(_PICTURES[name], []).extend(values)
        elif name in _REFERENCES:
            references += values
        elif len(values) > 1:
            raise InvalidField(name, "came more than once; send it once")
        elif values[0] != "" or name == "prompt":
            fields[name] = values[0]
    for name, values in pictures.items():
        if len(values) != 1 and name != "image":
            raise InvalidField(name, f"came {len(values)} times; send it once")
        fields[name] = picture_bytes(name, values[0])
        references = [*values[1:], *references]
    if references:
        fields["references"] = reference_entries("references", references)
    return fields


def _say_whether_to_retry(response: Response) -> Response:
    """Keep OpenAI's library from repeating what would fail again; it repeats 5xx twice by itself."""
    if response.status_code >= 400:
        response.headers["x-should-retry"] = "true" if "Retry-After" in response.headers else "false"
    return response
