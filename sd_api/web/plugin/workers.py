"""``GET /workers``: the workers with their machines, devices, loaded models and jobs."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint

from sd_api.jobs.queue import JobQueue
from sd_api.jobs.workers import WorkerStatus
from sd_api.owners import is_of, job_name
from sd_api.web.bearer import JobOwners


def make_blueprint(queue: JobQueue, owners: JobOwners) -> Blueprint:
    """The endpoint over the workers of ``queue``; a server without a cluster is its own only worker."""
    blueprint = Blueprint("workers", __name__)

    def workers() -> dict[str, Any]:
        owner = owners.owner()
        return {"status": "success", "workers": [_worker_entry(worker, owner) for worker in queue.workers()]}

    blueprint.add_url_rule("/workers", view_func=workers)
    return blueprint


def _worker_entry(worker: WorkerStatus, owner: str) -> dict[str, Any]:
    engine = worker.engine
    return {
        "id": worker.id,
        "host": worker.host,
        "version": worker.version,
        "started": worker.started,
        "state": engine.state,
        "message": engine.message,
        "device": engine.device,
        "dtype": engine.dtype,
        "memory": None if engine.memory is None else asdict(engine.memory),
        "models": [asdict(model) for model in engine.models],
        "busy": bool(worker.jobs),
        "jobs": [job_name(job_id) for job_id in worker.jobs if is_of(owner, job_id)],
    }
