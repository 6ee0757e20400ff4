"""The wire format between processes of one version: specs, results, errors and worker status as JSON and PNG."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from sd_api import errors
from sd_api.errors import GenerationFailed, InvalidField, InvalidFields, ServerError
from sd_api.generation import wire
from sd_api.generation.engine import Progress
from sd_api.generation.result import GeneratedImage, GenerationResult, Placement
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import State
from sd_api.jobs.work_rates import JobKind, Timing
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Limits

Fields = dict[str, str | bytes | int | float]
"""The fields of a Redis hash, as they are written."""

Read = Mapping[str, bytes | None]
"""The fields of a Redis hash, as they are read; None for a field that is missing."""

_WORKER = TypeAdapter(WorkerStatus)

SPEC_FIELDS = ("spec", *wire.IMAGE_FIELDS)
"""The fields that ``spec_fields`` writes."""


def spec_fields(spec: JobSpec) -> Fields:
    """Encode a spec, each image in a field of its own."""
    return {"spec": json.dumps(wire.plain_values(spec)), **wire.image_contents(spec)}


def read_spec(fields: Read, limits: Limits) -> JobSpec:
    """Decode what ``spec_fields`` has encoded.

    Raises:
        RequestError: this machine's limits are narrower than those of the machine that sent it.
    """
    contents = {name: content for name in wire.IMAGE_FIELDS if (content := fields[name]) is not None}
    return wire.read_spec(json.loads(fields["spec"] or b""), contents, limits)


def result_fields(result: GenerationResult) -> Fields:
    """Encode a result: one field with the metadata of its pictures, one for each picture."""
    metadata = [_metadata(image) for image in result.images]
    return {
        "result": json.dumps({"images": metadata, "warnings": result.warnings, "chosen": dict(result.chosen)}),
        **{f"picture:{number}": image.png for number, image in enumerate(result.images)},
    }


def read_result(fields: Read) -> GenerationResult:
    """Decode what ``result_fields`` has encoded."""
    plain = json.loads(fields["result"] or b"")
    images = (_image(fields[f"picture:{number}"], metadata) for number, metadata in enumerate(plain["images"]))
    return GenerationResult(tuple(images), tuple(plain["warnings"]), plain["chosen"])


def _metadata(image: GeneratedImage) -> dict[str, Any]:
    return {
        "seed": image.seed,
        "nsfw": image.nsfw,
        "variation_seed": image.variation_seed,
        "placement": None if image.placement is None else dataclasses.asdict(image.placement),
    }


def _image(png: bytes | None, metadata: dict[str, Any]) -> GeneratedImage:
    placement = metadata.pop("placement")
    return GeneratedImage(png=png or b"", placement=None if placement is None else Placement(**placement), **metadata)


def error_text(error: ServerError) -> str:
    """Encode an error."""
    if isinstance(error, InvalidFields):
        arguments: list[Any] = [[error_text(fault) for fault in error.faults], error.message]
    elif isinstance(error, InvalidField):
        arguments = [error.field, error.problem]
    else:
        arguments = [error.message, error.retry_after]
    return json.dumps({"type": type(error).__name__, "arguments": arguments})


def read_error(text: bytes | str) -> ServerError:
    """Decode what ``error_text`` has encoded."""
    plain = json.loads(text)
    kind, arguments = getattr(errors, plain["type"]), plain["arguments"]
    if kind is InvalidFields:
        arguments[0] = [read_error(fault) for fault in arguments[0]]
    made = kind(*arguments)
    return made if isinstance(made, ServerError) else GenerationFailed(str(made))


def progress_text(progress: Progress) -> str:
    """Encode the progress of a generation."""
    return json.dumps(dataclasses.asdict(progress))


def read_progress(text: bytes | str | None) -> Progress | None:
    """Decode what ``progress_text`` has encoded."""
    return None if text is None else Progress(**json.loads(text))


def update_text(job_id: str, state: State, progress: Progress, *, preview: bool) -> str:
    """Encode an update of a job as the scripts do; ``preview`` is whether there is a new preview."""
    return json.dumps({"id": job_id, "state": state, "progress": progress_text(progress), "preview": preview})


def kind_text(kind: JobKind) -> str:
    """Encode a kind of job."""
    return json.dumps(kind)


def read_timings(found: Mapping[bytes, bytes]) -> dict[JobKind, list[Timing]]:
    """Decode the timings of each kind of job."""
    return {JobKind(*json.loads(kind)): [Timing(*pair) for pair in json.loads(text)] for kind, text in found.items()}


# What an engine says of each model.
_BY_MODEL = ("abilities", "flops")


def worker_text(worker: WorkerStatus) -> str:
    """Encode the status of a worker."""
    plain = dataclasses.asdict(worker)
    # JSON has string keys only, but the main model's key is None.
    for name in _BY_MODEL:
        plain["engine"][name] = list(plain["engine"][name].items())
    return json.dumps(plain)


def read_worker(text: bytes | str) -> WorkerStatus:
    """Decode what ``worker_text`` has encoded."""
    plain = json.loads(text)
    for name in _BY_MODEL:
        plain["engine"][name] = dict(plain["engine"][name])
    return _WORKER.validate_python(plain)
