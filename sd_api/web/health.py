"""``GET /health``: the state of the engine, its device and models, the owner's last failures, and who was refused."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from flask import Blueprint

from sd_api import __version__
from sd_api.jobs.failures import RecentFailures
from sd_api.jobs.queue import JobQueue
from sd_api.web.bearer import JobOwners
from sd_api.web.refused_callers import RefusedCallers

PACKAGES = ("torch", "diffusers", "transformers")


def make_blueprint(queue: JobQueue, failures: RecentFailures, refused: RefusedCallers, owners: JobOwners) -> Blueprint:
    """The health endpoint over ``queue``, with the last failures of the owner's jobs and the guards' refusals."""
    blueprint = Blueprint("health", __name__)
    # Read once, because reading the metadata of installed packages is slow.
    versions = {
        "server": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }

    def health() -> tuple[dict[str, Any], int]:
        status = queue.status()
        answer = {
            "status": status.state,
            "model": status.model,
            "device": status.device,
            "dtype": status.dtype,
            "download": status.download and asdict(status.download),
            "models": [asdict(model) for model in status.models],
            "versions": versions,
            "failures": [asdict(failure) for failure in failures.latest_first(owners.owner())],
            "refused_callers": [asdict(caller) for caller in refused.latest_first()],
        }
        if status.message is not None:
            answer["message"] = status.message
        return answer, 503 if status.state == "failed" else 200

    blueprint.add_url_rule("/health", view_func=health)
    return blueprint
