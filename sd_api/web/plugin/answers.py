"""What the plugin reads: pictures as base64 text, and one shape for every failure."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sd_api.errors import ServerError
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import JobStatus


def success(result: GenerationResult) -> dict[str, Any]:
    """The answer to a generation; the type is under both spellings that clients know."""
    return {
        "status": "success",
        **({"warnings": result.warnings} if result.warnings else {}),
        "images": [
            {
                "base64": b64encode(image.png).decode("ascii"),
                "seed": image.seed,
                **({} if image.variation_seed is None else {"variation_seed": image.variation_seed}),
                "mimetype": "image/png",
                "mime_type": "image/png",
                "nsfw": image.nsfw,
            }
            for image in result.images
        ],
    }


def described(status: JobStatus) -> dict[str, Any]:
    """One job, as all answers about jobs show it."""
    fields = asdict(status)
    # Whose it is concerns nobody else.
    del fields["client"]
    fields["progress"] = None if status.progress is None else status.progress.as_json()
    if status.preview is not None:
        fields["preview"] = b64encode(status.preview).decode("ascii")
    return fields


def failure(error: ServerError, status: int) -> tuple[Mapping[str, Any], int]:
    """The answer to everything that went wrong; see Render."""
    answer: dict[str, Any] = {"status": "failure", "message": error.message}
    if error.errors:
        answer["errors"] = [{"field": fault.field, "message": fault.message} for fault in error.errors]
    return answer, status
