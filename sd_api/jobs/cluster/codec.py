"""The wire format between processes of one version: requests, results, errors and worker status as JSON and PNG."""

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pydantic import TypeAdapter

from sd_api import errors
from sd_api.errors import GenerationFailed, InvalidField, ServerError
from sd_api.generation.engine import Progress
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Limits

Fields = dict[str, str | bytes | int | float]
"""The fields of a Redis hash, as they are written."""

Read = Mapping[str, bytes | None]
"""The fields of a Redis hash, as they are read; None for a field that is missing."""

_WORKER = TypeAdapter(WorkerStatus)
_IMAGES = {"init_image": "image", "mask_image": "mask"}


def request_fields(request: GenerationRequest) -> Fields:
    """Encode a request, each image in a field of its own."""
    plain = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    images = {field: plain.pop(name) for name, field in _IMAGES.items()}
    return {
        "request": json.dumps(plain),
        **{field: _png(image) for field, image in images.items() if image is not None},
    }


def read_request(fields: Read, limits: Limits) -> GenerationRequest:
    """Decode what ``request_fields`` has encoded.

    Raises:
        OutOfLimits: this machine's limits are narrower than those of the machine that sent it.
    """
    plain: dict[str, Any] = json.loads(fields["request"] or b"")
    images: dict[str, Any] = {
        name: _image(png) for name, field in _IMAGES.items() if (png := fields[field]) is not None
    }
    return GenerationRequest(**{**plain, "seeds": tuple(plain["seeds"])}, **images, limits=limits)


def result_fields(result: GenerationResult) -> Fields:
    """Encode a result: one field with the metadata of its pictures, one for each picture."""
    metadata = [{"seed": image.seed, "nsfw": image.nsfw} for image in result.images]
    return {
        "result": json.dumps({"images": metadata, "warnings": result.warnings}),
        **{f"picture:{number}": image.png for number, image in enumerate(result.images)},
    }


def read_result(fields: Read) -> GenerationResult:
    """Decode what ``result_fields`` has encoded."""
    plain = json.loads(fields["result"] or b"")
    images = (
        GeneratedImage(png=fields[f"picture:{number}"] or b"", **metadata)
        for number, metadata in enumerate(plain["images"])
    )
    return GenerationResult(tuple(images), tuple(plain["warnings"]))


def error_text(error: ServerError) -> str:
    """Encode an error."""
    arguments = [error.field, error.problem] if isinstance(error, InvalidField) else [error.message, error.retry_after]
    return json.dumps({"type": type(error).__name__, "arguments": arguments})


def read_error(text: bytes | str) -> ServerError:
    """Decode what ``error_text`` has encoded."""
    plain = json.loads(text)
    kind = getattr(errors, plain["type"])
    made = kind(*plain["arguments"])
    return made if isinstance(made, ServerError) else GenerationFailed(str(made))


def progress_text(progress: Progress) -> str:
    """Encode the progress of a generation."""
    return json.dumps(dataclasses.asdict(progress))


def read_progress(text: bytes | str | None) -> Progress | None:
    """Decode what ``progress_text`` has encoded."""
    return None if text is None else Progress(**json.loads(text))


def worker_text(worker: WorkerStatus) -> str:
    """Encode the status of a worker."""
    plain = dataclasses.asdict(worker)
    # JSON has string keys only, but the main model's key is None.
    plain["engine"]["abilities"] = list(plain["engine"]["abilities"].items())
    return json.dumps(plain)


def read_worker(text: bytes | str) -> WorkerStatus:
    """Decode what ``worker_text`` has encoded."""
    plain = json.loads(text)
    plain["engine"]["abilities"] = dict(plain["engine"]["abilities"])
    return _WORKER.validate_python(plain)


def _png(image: Image.Image) -> bytes:
    png = io.BytesIO()
    # A client waits for this, and more effort makes the file hardly smaller.
    image.save(png, "PNG", compress_level=1)
    return png.getvalue()


def _image(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image
