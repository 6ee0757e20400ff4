"""The answers of the plugin's endpoints: pictures as base64 text, jobs, and one shape for every failure."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sd_api.errors import InvalidField, ServerError
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import JobStatus
from sd_api.owners import job_name
from sd_api.web.plugin.forms import PLUGIN


def success(result: GenerationResult) -> dict[str, Any]:
    """The answer to a generation; the media type has both spellings, because clients read either."""
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


def job_entry(status: JobStatus) -> dict[str, Any]:
    """The JSON object of one job, see ``JobEntry`` in the schemas."""
    fields = asdict(status)
    fields["id"] = job_name(status.id)
    # Who sent it is private.
    del fields["client"], fields["program"]
    fields["progress"] = None if status.progress is None else status.progress.as_json()
    if status.preview is not None:
        fields["preview"] = b64encode(status.preview).decode("ascii")
    return fields


def failure(error: ServerError, status: int) -> tuple[Mapping[str, Any], int]:
    """The answer for an error; see Render."""
    if isinstance(error, InvalidField):
        # What only the model could refuse has the field's canonical name.
        error = type(error)(PLUGIN.name(error.field), error.problem)
    answer: dict[str, Any] = {"status": "failure", "message": error.message}
    if error.errors:
        answer["errors"] = [{"field": fault.field, "message": fault.message} for fault in error.errors]
    return answer, status
