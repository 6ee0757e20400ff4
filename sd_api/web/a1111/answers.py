"""The answers of this dialect: pictures with their infotexts, the progress, and one shape for every failure."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sd_api import __version__
from sd_api.errors import ServerError
from sd_api.generation.fields import derived
from sd_api.generation.metadata import read_parameters
from sd_api.generation.result import GenerationResult
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.spec import JobSpec
from sd_api.imaging.decoding import read_texts
from sd_api.jobs.job import JobStatus
from sd_api.owners import job_name
from sd_api.web.a1111.forms import A1111_ALONE, KNOWN, Asked
from sd_api.web.a1111.samplers import SamplerNotFound

# Fields whose values are not sent back.
_PICTURES = ("init_images", "mask", "latent_mask", "controls", "references", "alwayson_scripts")

# A size in a parameters text, of which the web UI makes two values.
_SIZE = re.compile(r"([0-9]+)x([0-9]+)")

# The keys of a parameters text that ``info`` has under names of its own.
_IN_INFO = frozenset(
    {"Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Version", "Denoising strength", "Clip skip"}
    | {"Variation seed", "Variation seed strength"}
)

# Their least progress, because some programs take 0 for "nothing runs".
_BEGUN = 0.01

_PHASES = {"downloading": "A model or a LoRA is downloaded", "loading": "The model is loaded", "decoding": "Decoding"}


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
    fields: dict[str, Any] = dict.fromkeys(A1111_ALONE)
    fields |= {name: field.default for name, field in type(asked).model_fields.items()}
    return fields | {name: value for name, value in came.items() if name in KNOWN} | dict.fromkeys(_PICTURES)


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
    parameters: dict[str, str] = {}
    if read is not None:
        parameters = {"Prompt": read.fields["prompt"], "Negative prompt": read.fields["negative_prompt"]}
        for key, value in read.pairs.items():
            sides = _SIZE.fullmatch(value)
            parameters |= {key: value} if sides is None else {f"{key}-1": sides[1], f"{key}-2": sides[2]}
        parameters.setdefault("Schedule type", "Automatic")
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
    infotexts = [read_texts("image", image.png).get("parameters", "") for image in made]
    first = read_parameters(infotexts[0]) if made else None
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
        "sd_vae_name": operation.vae,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": getattr(operation, "strength", None),
        "extra_generation_params": {
            key: value for key, value in (first.pairs if first else {}).items() if key not in _IN_INFO
        },
        "index_of_first_image": 0,
        "infotexts": infotexts,
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
