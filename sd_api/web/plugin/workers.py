"""``GET /workers``: the workers with their machines, devices, loaded models and jobs."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint

from sd_api.accounts.tokens import is_owner
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.workers import WorkerStatus


def make_blueprint(queue: JobQueue) -> Blueprint:
    """The endpoint over the workers of ``queue``; a server without a cluster is its own only worker."""
    blueprint = Blueprint("workers", __name__)

    def workers() -> dict[str, Any]:
        # The jobs of tasks are visible only with their owner's token.
        shown = {job.id for job in queue.jobs() if not is_owner(job.client)}
        return {"status": "success", "workers": [_worker_entry(worker, shown) for worker in queue.workers()]}

    blueprint.add_url_rule("/workers", view_func=workers)
    return blueprint


def _worker_entry(worker: WorkerStatus, shown: set[str]) -> dict[str, Any]:
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
        "jobs": [job_id for job_id in worker.jobs if job_id in shown],
    }
