"""Requests, results, errors and workers as text and PNG files, to be read by another process of the same version."""

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
"""Fields of a hash."""

Read = Mapping[str, bytes | None]
"""What was found in them."""

_WORKER = TypeAdapter(WorkerStatus)
_IMAGES = {"init_image": "image", "mask_image": "mask"}


def request_fields(request: GenerationRequest) -> Fields:
    """A request, with its images apart."""
    plain = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    images = {field: plain.pop(name) for name, field in _IMAGES.items()}
    return {
        "request": json.dumps(plain),
        **{field: _png(image) for field, image in images.items() if image is not None},
    }


def read_request(fields: Read, limits: Limits) -> GenerationRequest:
    """What ``request_fields`` has written.

    Raises:
        OutOfLimits: this machine's limits are narrower than those of the machine that sent it.
    """
    plain: dict[str, Any] = json.loads(fields["request"] or b"")
    images: dict[str, Any] = {
        name: _image(png) for name, field in _IMAGES.items() if (png := fields[field]) is not None
    }
    return GenerationRequest(**{**plain, "seeds": tuple(plain["seeds"])}, **images, limits=limits)


def result_fields(result: GenerationResult) -> Fields:
    """A result: one field for what is told of its pictures, one for each picture."""
    told = [{"seed": image.seed, "nsfw": image.nsfw} for image in result.images]
    return {
        "result": json.dumps({"images": told, "warnings": result.warnings}),
        **{f"picture:{number}": image.png for number, image in enumerate(result.images)},
    }


def read_result(fields: Read) -> GenerationResult:
    """What ``result_fields`` has written."""
    plain = json.loads(fields["result"] or b"")
    images = (
        GeneratedImage(png=fields[f"picture:{number}"] or b"", **told) for number, told in enumerate(plain["images"])
    )
    return GenerationResult(tuple(images), tuple(plain["warnings"]))


def error_text(error: ServerError) -> str:
    """An error of ours."""
    arguments = [error.field, error.problem] if isinstance(error, InvalidField) else [error.message, error.retry_after]
    return json.dumps({"type": type(error).__name__, "arguments": arguments})


def read_error(text: bytes | str) -> ServerError:
    """What ``error_text`` has written."""
    plain = json.loads(text)
    kind = getattr(errors, plain["type"])
    made = kind(*plain["arguments"])
    return made if isinstance(made, ServerError) else GenerationFailed(str(made))


def progress_text(progress: Progress) -> str:
    """Where a generation stands."""
    return json.dumps(dataclasses.asdict(progress))


def read_progress(text: bytes | str | None) -> Progress | None:
    """What ``progress_text`` has written."""
    return None if text is None else Progress(**json.loads(text))


def worker_text(worker: WorkerStatus) -> str:
    """Who makes pictures."""
    plain = dataclasses.asdict(worker)
    # Keys of JSON are texts, and the main model's is none.
    plain["engine"]["abilities"] = list(plain["engine"]["abilities"].items())
    return json.dumps(plain)


def read_worker(text: bytes | str) -> WorkerStatus:
    """What ``worker_text`` has written."""
    plain = json.loads(text)
    plain["engine"]["abilities"] = dict(plain["engine"]["abilities"])
    return _WORKER.validate_python(plain)


def _png(image: Image.Image) -> bytes:
    png = io.BytesIO()
    # Hardly smaller with more effort, and this is in somebody's way.
    image.save(png, "PNG", compress_level=1)
    return png.getvalue()


def _image(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image
