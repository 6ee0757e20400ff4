"""How tasks end: their pictures are stored, and what became of them is recorded."""

import contextlib
import logging
from typing import Any

from sd_api.errors import DiskFull, StoreUnavailable, generation_failure
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.storage.protocols import Blob, BlobStore, Task
from sd_api.tasks.journal import Journal
from sd_api.tasks.requests import used_parameters

log = logging.getLogger(__name__)


class TaskOutcomes:
    """Stores what tasks end with.

    Args:
        blobs: where pictures are stored.
        journal: stores and publishes the tasks' changes.
    """

    def __init__(self, blobs: BlobStore, journal: Journal) -> None:
        self._blobs = blobs
        self._journal = journal

    def finish(self, task: Task, result: GenerationResult, warnings: list[str]) -> None:
        """Store a task's pictures, and record that it is finished; or cancelled, with what went wrong.

        Args:
            task: the task.
            result: what its job has made.
            warnings: what was done other than its parameters say.

        Raises:
            StoreUnavailable: its end cannot be stored yet; it is tried again.
        """
        images: list[Blob] = []
        try:
            images.extend(self._blobs.make(task.owner, image.png, "image/png") for image in result.images)
            descriptions = [
                {
                    "blob_id": blob.id,
                    "parameters_used": _parameters_used(task, result, image),
                    "nsfw": image.nsfw,
                    **({} if image.placement is None else image.placement.as_json()),
                }
                for blob, image in zip(images, result.images, strict=True)
            ]
            details = {"image": descriptions[0], "images": descriptions, "warnings": warnings}
            self._journal.record(task, "finished", details, images)
        except DiskFull:
            # None of them is listed. They are written anew when there is room; until then, others can use what is left.
            for blob in images:
                with contextlib.suppress(DiskFull):
                    self._blobs.remove(blob)
            raise
        except StoreUnavailable:
            raise
        except Exception as error:
            self.fail(task, error)

    def fail(self, task: Task, error: Exception) -> None:
        """Record that a task is cancelled because of an error.

        Raises:
            StoreUnavailable: its end cannot be stored yet; it is tried again.
        """
        failure = generation_failure(log, error, f"task {task.id}")
        self._journal.record(task, "cancelled", {"reason": failure.message})


def _parameters_used(task: Task, result: GenerationResult, image: GeneratedImage) -> dict[str, Any]:
    """The parameters that make this picture of a task again."""
    used = {**used_parameters(task.parameters, result.chosen), "seed": image.seed}
    return used if image.variation_seed is None else {**used, "variation_seed": image.variation_seed}
