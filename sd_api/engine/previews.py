"""How pictures look while they are made: cheap, small, and only for clients that look."""

import io
import logging
import time
import traceback
from collections.abc import Iterable
from typing import Any

from sd_api.engine.active import ActiveJob
from sd_api.models.families.base import Row

log = logging.getLogger(__name__)

# Seconds between two previews: more would cost time, and nobody could look at them.
INTERVAL = 0.3


class Previews:
    """Makes previews of the first open row of each job whose client looks.

    A preview that fails is logged and ends the previews of its job, but nothing else.
    """

    def __init__(self) -> None:
        self._last: dict[ActiveJob, float] = {}

    def due(self, jobs: Iterable[ActiveJob]) -> dict[Row, ActiveJob]:
        """The rows of which a preview is due at this step."""
        now = time.monotonic()
        return {
            job.rows[0]: job
            for job in jobs
            if job.previews and job.rows and job.run.preview_wanted and now - self._last.get(job, 0.0) > INTERVAL
        }

    def show(self, job: ActiveJob, row: Row, prediction: Any) -> None:
        """Show a row before it advances."""
        try:
            picture = job.model.family.preview(job.model.parts, row, prediction)
            if picture is not None:
                file = io.BytesIO()
                picture.save(file, "PNG")
                job.run.show(file.getvalue())
        except Exception as error:
            job.previews = False
            log.warning("There are no previews of this job any more: %s: %s", type(error).__name__, error)
            # The frames of its trace keep tensors alive.
            traceback.clear_frames(error.__traceback__)
        self._last[job] = time.monotonic()

    def forget(self, job: ActiveJob) -> None:
        """Drop what is remembered of a job that has ended."""
        self._last.pop(job, None)
