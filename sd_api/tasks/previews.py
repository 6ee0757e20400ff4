"""How a running task's first picture looks now.

A preview is kept nowhere but in its job, which has one at a time and none any more once it has ended: so previews
take no room, and go by themselves.
"""

from sd_api.errors import UnknownBlob, UnknownJob
from sd_api.jobs.queue import JobQueue


def preview_id(task_id: str, step: int) -> str:
    """What a preview is called among the blobs: another name after each step, so that no client takes it for known."""
    return f"{task_id}-{step}"


class Previews:
    """Finds previews by their names.

    Args:
        jobs: the queue that runs tasks, each as the job with its id.
    """

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def read(self, owner: str, blob_id: str) -> bytes | None:
        """The latest preview of the task that a preview's name is about, a PNG file.

        Args:
            owner: who asks.
            blob_id: of a preview, or of anything else.

        Returns:
            None where the id is no preview's.

        Raises:
            UnknownBlob: the task is not the owner's, does not run, or nobody listens for its previews.
        """
        task_id, dash, _ = blob_id.partition("-")
        if not dash:
            return None
        try:
            status = self._jobs.job(task_id)
        except UnknownJob:
            status = None
        if status is None or status.client != owner or status.preview is None:
            raise UnknownBlob(f"There is no preview {blob_id[:100]!r} of yours, or not any more.")
        return status.preview
