"""Previews of running tasks, as blobs.

A preview is stored only in its job, which has one at a time and none after its end. So previews take no room and need
no cleaning up.
"""

from sd_api.errors import UnknownBlob, UnknownJob
from sd_api.jobs.queue import JobQueue
from sd_api.owners import qualified


def preview_id(task_id: str, step: int) -> str:
    """The blob id of a preview. It differs after each step, so that no client takes a cached preview for a new one."""
    return f"{task_id}-{step}"


class Previews:
    """Finds previews by their blob ids.

    Args:
        jobs: the job queue, where a task's job is called like the task.
    """

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def read(self, owner: str, blob_id: str) -> bytes | None:
        """The latest preview of the task that a preview's id names.

        Args:
            owner: the owner who asks.
            blob_id: the id of a preview, or of any other blob.

        Returns:
            A PNG file; None if the id is no preview's.

        Raises:
            UnknownBlob: the task is not this owner's, does not run, or has no preview because none was asked for.
        """
        task_id, dash, _ = blob_id.partition("-")
        if not dash:
            return None
        try:
            status = self._jobs.job(qualified(owner, task_id))
        except UnknownJob:
            status = None
        if status is None or status.preview is None:
            raise UnknownBlob(f"There is no preview {blob_id[:100]!r} of yours, or not any more.")
        return status.preview
