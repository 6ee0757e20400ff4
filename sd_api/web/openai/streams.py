"""A job as server-sent events: its previews while it runs, then its pictures."""

import threading
from collections.abc import Iterator

from sd_api.errors import ServerError
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.queue import JobQueue
from sd_api.web.openai import answers
from sd_api.web.openai.forms import Options

# Seconds between two looks at the job; no step of a model that is worth a preview is shorter.
LOOK_INTERVAL = 0.2

# Looks without an event after which a comment keeps proxies from closing the connection.
LOOKS_TO_COMMENT = 75


def events(queue: JobQueue, job: Job, options: Options, kind: str) -> Iterator[str]:
    """The events of a job, to its end.

    Args:
        queue: Where it was submitted.
        job: The job.
        options: How its pictures shall be answered.
        kind: ``image_generation`` or ``image_edit``.
    """
    # Sent at once, so that the client has its headers.
    yield ": welcome\n\n"
    yield from _previews(queue, job, options, kind)
    try:
        result = job.result()
        answers.check_flags(result)
        for image in result.images:
            yield answers.completed_event(kind, image, options, job.spec.size)
    except ServerError as error:
        yield answers.error_event(error)


def _previews(queue: JobQueue, job: Job, options: Options, kind: str) -> Iterator[str]:
    ended = threading.Event()
    job.listen(lambda changed: ended.set() if changed.ended else None)
    shown = looks = 0
    while not (job.ended or ended.wait(LOOK_INTERVAL)):
        looks += 1
        if shown < options.partial_images:
            status = queue.job(job.id, preview=True)
            if status.preview is not None and _progress(status) >= (shown + 1) / (options.partial_images + 1):
                yield answers.partial_event(kind, status.preview, shown, options, job.spec.operation)
                shown, looks = shown + 1, 0
        if looks >= LOOKS_TO_COMMENT:
            yield ":\n\n"
            looks = 0


def _progress(status: JobStatus) -> float:
    """The share of a job's steps that are done, 0 to 1."""
    if status.progress is None or not status.progress.steps:
        return 0.0
    return status.progress.step / status.progress.steps
