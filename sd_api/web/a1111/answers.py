"""The answers of this dialect: pictures with their infotexts, the progress, and one shape for every failure."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sd_api import __version__
from sd_api.errors import ServerError
from sd_api.generation.fields import derived
from sd_api.generation.metadata import KEYS, read_parameters
from sd_api.generation.result import GenerationResult
from sd_api.generation.schedulers import KARRAS, SCHEDULERS
from sd_api.generation.spec import JobSpec
from sd_api.imaging.decoding import read_texts
from sd_api.jobs.job import JobStatus
from sd_api.owners import job_name
from sd_api.web.a1111.forms import Asked
from sd_api.web.a1111.samplers import SamplerNotFound

# Fields whose values are not sent back.
_PICTURES = frozenset({"init_images", "mask"})

# Their least progress, because some programs take 0 for "nothing runs".
_BEGUN = 0.01

_PHASES = {"downloading": "The model is downloaded", "loading": "The model is loaded", "decoding": "Decoding"}


def generation(
    result: GenerationResult, spec: JobSpec, sent_back: Mapping[str, Any], model: str, *, send_images: bool
) -> dict[str, Any]:
    """The answer to a generation.

    Args:
        result: The pictures; none where the job was interrupted.
        spec: What was asked for.
        sent_back: See the function of that name.
        model: The title of the model.
        send_images: Whether the answer has the pictures.
    """
    warnings = _warnings(result)
    return {
        "images": [base64_text(image.png) for image in result.images if send_images],
        "parameters": sent_back,
        "info": json.dumps(_info(result, spec, model) | {"batch_size": sent_back["batch_size"]}),
        **({"warnings": warnings} if warnings else {}),
    }


def sent_back(asked: Asked, came: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the dialect with what came for it; pictures are null, and what programs add may be secret.

    Args:
        asked: The request as it was validated.
        came: The request as it came.
    """
    fields = {name: came.get(name, field.default) for name, field in type(asked).model_fields.items()}
    return fields | dict.fromkeys(_PICTURES & fields.keys())


def progress(job: JobStatus | None) -> dict[str, Any]:
    """The progress of a job; None is at rest, where ``progress`` and ``job_count`` are 0."""
    step = steps = 0
    if job is not None and job.progress is not None:
        step, steps = job.progress.step, job.progress.steps
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "" if job is None else job_name(job.id),
        "job_count": 0 if job is None else 1,
        "job_timestamp": "0" if job is None else timestamp(job.created),
        "job_no": 0,
        "sampling_step": step,
        "sampling_steps": steps,
    }
    return {
        "progress": 0 if job is None else max(_BEGUN, step / steps if steps else 0),
        "eta_relative": 0 if job is None else job.seconds_left or 0,
        "state": state,
        "current_image": None if job is None or job.preview is None else base64_text(job.preview),
        "textinfo": _textinfo(job),
    }


def picture_information(content: bytes) -> dict[str, Any]:
    """What the texts of a picture say of how it was made.

    Raises:
        InvalidField: It is no picture.
    """
    texts = read_texts("image", content)
    text = texts.pop("parameters", "")
    read = read_parameters(text)
    parameters = {}
    if read is not None:
        parameters = {KEYS.get(name, name.capitalize()): str(value) for name, value in read.fields.items()}
        scheduler = SCHEDULERS.get(read.fields.get("scheduler", ""))
        if scheduler is not None:
            parameters[KEYS["scheduler"]] = scheduler.sampler
            parameters["Schedule type"] = KARRAS if scheduler.karras else "Automatic"
        for number, side in enumerate(("Width", "Height"), start=1):
            if side in parameters:
                parameters[f"Size-{number}"] = parameters.pop(side)
        if read.model is not None:
            parameters["Model"] = read.model
    return {"info": text, "items": texts, "parameters": parameters}


def failure(error: ServerError, status: int) -> tuple[Mapping[str, Any], int]:
    """See Render. Faulty fields are 422, as in the web UI."""
    if error.errors:
        status = 422
    return {
        "error": type(error).__name__,
        "detail": error.message,
        "body": "",
        "errors": error.hint if isinstance(error, SamplerNotFound) else error.message,
    }, status


def base64_text(content: bytes) -> str:
    """A file as text."""
    return b64encode(content).decode("ascii")


def timestamp(seconds: float) -> str:
    """A time as A1111 writes it."""
    return time.strftime("%Y%m%d%H%M%S", time.localtime(seconds))


def _info(result: GenerationResult, spec: JobSpec, model: str) -> dict[str, Any]:
    made = result.images
    operation = derived(spec.operation, type(spec.operation), **result.chosen)
    choice = SCHEDULERS.get(operation.scheduler or "")
    variations = [-1 if image.variation_seed is None else image.variation_seed for image in made]
    width, height = spec.size
    return {
        "prompt": operation.prompt,
        "all_prompts": [operation.prompt] * len(made),
        "negative_prompt": operation.negative_prompt,
        "all_negative_prompts": [operation.negative_prompt] * len(made),
        "seed": spec.seeds[0],
        "all_seeds": [image.seed for image in made],
        "subseed": spec.variation_seeds[0] if spec.variation_seeds else -1,
        "all_subseeds": variations,
        "subseed_strength": operation.variation_strength,
        "width": width,
        "height": height,
        "sampler_name": operation.scheduler if choice is None else choice.sampler,
        "cfg_scale": operation.guidance,
        "steps": operation.steps,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": getattr(operation, "strength", None),
        "extra_generation_params": {"Schedule type": KARRAS} if choice is not None and choice.karras else {},
        "index_of_first_image": 0,
        "infotexts": [read_texts("image", image.png).get("parameters", "") for image in made],
        "styles": [],
        "job_timestamp": timestamp(time.time()),
        "clip_skip": operation.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"sd-api-server {__version__}",
    }


def _warnings(result: GenerationResult) -> list[str]:
    flagged = [str(number) for number, image in enumerate(result.images, start=1) if image.nsfw]
    black = [f"The safety filter flagged picture {' and '.join(flagged)}, which is black."] if flagged else []
    return [*result.warnings, *black]


def _textinfo(job: JobStatus | None) -> str | None:
    if job is None:
        return None
    if job.position is not None:
        return f"Waiting, number {job.position} in the queue"
    return None if job.progress is None else _PHASES.get(job.progress.phase)
