"""The endpoints that watch and stop jobs, in the shape of the plugin's answers.

Each sees the jobs of the request's owner only, those of its tasks included; other jobs are unknown to it.
"""

from typing import Any

from flask import Blueprint, Response, request

from sd_api.errors import InvalidField, JobNotEnded, RequestError, ServerError, UnknownJob
from sd_api.generation.result import GenerationResult
from sd_api.jobs.job import ENDED, JobStatus
from sd_api.jobs.queue import JobQueue
from sd_api.jobs.results_cache import ResultsCache
from sd_api.owners import is_of, qualified
from sd_api.web.bearer import JobOwners
from sd_api.web.plugin.answers import job_entry, success
from sd_api.web.png_answers import picture_answer, preview_answer


class UnknownPicture(RequestError):
    """A job has no picture of that number."""

    status = 404


def make_blueprint(queue: JobQueue, results: ResultsCache, owners: JobOwners) -> Blueprint:
    """The job endpoints over ``queue`` and the results cache of its jobs."""
    blueprint = Blueprint("jobs", __name__)
    endpoints = JobEndpoints(queue, results, owners)
    blueprint.add_url_rule("/jobs", view_func=endpoints.jobs)
    blueprint.add_url_rule("/jobs/<job_id>", view_func=endpoints.job)
    blueprint.add_url_rule("/jobs/<job_id>/result", view_func=endpoints.result)
    blueprint.add_url_rule("/jobs/<job_id>/images/<int:number>", view_func=endpoints.image)
    blueprint.add_url_rule("/jobs/<job_id>/preview", view_func=endpoints.preview)
    blueprint.add_url_rule("/jobs/<job_id>/cancel", view_func=endpoints.cancel, methods=["POST"])
    blueprint.add_url_rule("/jobs/<job_id>/move", view_func=endpoints.move, methods=["POST"])
    blueprint.add_url_rule("/progress", view_func=endpoints.progress)
    blueprint.after_request(_leave_as_it_is)
    return blueprint


def _leave_as_it_is(response: Response) -> Response:
    """Let nothing on the way compress pictures and previews, which are compressed already."""
    response.cache_control.no_transform = True
    return response


class JobEndpoints:
    """One method for each endpoint."""

    def __init__(self, queue: JobQueue, results: ResultsCache, owners: JobOwners) -> None:
        self._queue = queue
        self._results = results
        self._owners = owners

    def jobs(self) -> dict[str, Any]:
        """The owner's running jobs, then its waiting ones in queue order; of others' jobs, their number."""
        jobs = self._queue.jobs()
        own = self._own(jobs)
        return {"status": "success", "jobs": [job_entry(job) for job in own], "others": len(jobs) - len(own)}

    def job(self, job_id: str) -> dict[str, Any]:
        """One job, also for a while after its end; ``?preview=true`` adds a preview of its first picture."""
        status = self._queue.job(self._id(job_id), preview=_preview_wanted())
        return {"status": "success", "job": job_entry(status)}

    def preview(self, job_id: str) -> Response:
        """How the first picture of a job looks now, as a PNG file; 204 while there is no preview."""
        preview = self._queue.job(self._id(job_id), preview=True).preview
        return Response(status=204) if preview is None else preview_answer("preview", preview)

    def result(self, job_id: str) -> dict[str, Any]:
        """The result of a job that was sent with ``wait=false``."""
        return success(self._result(job_id))

    def image(self, job_id: str, number: int) -> Response:
        """One picture of such a job as a PNG file; they are counted from 0."""
        result = self._result(job_id)
        if number >= len(result.images):
            raise UnknownPicture(f"Job {job_id!r} has no picture {number}; its last one is {len(result.images) - 1}.")
        response = picture_answer(f"{job_id}-{number}", result.images[number], result.warnings)
        response.cache_control.private = True
        # The same name may be another job's later.
        response.cache_control.no_cache = True
        response.add_etag()
        response.make_conditional(request, accept_ranges=True, complete_length=response.content_length)
        return response

    def _result(self, job_id: str) -> GenerationResult:
        outcome = self._results.cached_result(self._id(job_id))
        if outcome is None:
            self._refuse_unfinished(job_id)
            # It may have ended since the first look.
            outcome = self._results.cached_result(self._id(job_id))
        if outcome is None:
            raise UnknownJob(
                f"The pictures of job {job_id!r} are not kept, or not any more; only those of jobs that were "
                "sent with wait=false are, for an hour at most."
            )
        if isinstance(outcome, ServerError):
            raise outcome
        return outcome

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; the answer has its final state."""
        status = self._queue.cancel(self._id(job_id), "This job was cancelled.")
        return {"status": "success", "job": job_entry(status)}

    def move(self, job_id: str) -> dict[str, Any]:
        """Move a waiting job among the owner's: before one, after one, or to the front of them."""
        before, after = (request.args.get(name) or None for name in ("before", "after"))
        if before and after:
            raise InvalidField("after", "came together with before; send one of the two")
        if job_id in (before, after):
            raise InvalidField("before" if before else "after", "is the job itself; it must be another one")
        places = {"before": before and self._id(before), "after": after and self._id(after)}
        return {"status": "success", "job": job_entry(self._queue.move(self._id(job_id), **places))}

    def progress(self) -> dict[str, Any]:
        """The owner's first running job; null if none is running."""
        running = next((job for job in self._own(self._queue.jobs()) if job.state == "running"), None)
        return {"status": "success", "job": None if running is None else job_entry(running)}

    def _refuse_unfinished(self, job_id: str) -> None:
        if self._queue.job(self._id(job_id)).state not in ENDED:
            raise JobNotEnded(f"Job {job_id!r} has not ended yet; ask again when its state says so.")

    def _own(self, jobs: list[JobStatus]) -> list[JobStatus]:
        owner = self._owners.owner()
        return [job for job in jobs if is_of(owner, job.id)]

    def _id(self, job_id: str) -> str:
        return qualified(self._owners.owner(), job_id)


def _preview_wanted() -> bool:
    asked = request.args.get("preview", "").lower()
    if asked not in ("", "true", "1", "false", "0"):
        raise InvalidField("preview", f"is {asked[:40]!r}; it must be true or false")
    return asked in ("true", "1")
