"""How pictures look while they are made: cheap, small, and only for clients that look."""

import logging
import time
import traceback
from collections.abc import Iterable
from typing import Any

from PIL import Image

from sd_api.engine.active import ActiveJob
from sd_api.imaging.previews import encode_preview
from sd_api.imaging.sizing import crop
from sd_api.models.families.base import Row

log = logging.getLogger(__name__)

# Seconds between two previews: more would cost time, and nobody could look at them.
INTERVAL = 0.3


def due(jobs: Iterable[ActiveJob]) -> dict[Row, ActiveJob]:
    """The rows of which a preview is due at this step: the first open one of each job whose client looks."""
    now = time.monotonic()
    return {
        job.rows[0]: job
        for job in jobs
        if job.previews and job.rows and job.run.preview_wanted and now - job.previewed > INTERVAL
    }


def show(job: ActiveJob, row: Row, prediction: Any) -> None:
    """Show a row before it advances; a failure is logged and ends the previews of its job, but nothing else."""
    try:
        picture = job.model.family.preview(job.parts, row, prediction)
        if picture is not None:
            job.run.show(_encoded(picture, job, row))
    except Exception as error:
        job.previews = False
        log.warning("There are no previews of this job any more: %s: %s", type(error).__name__, error)
        # The frames of its trace keep tensors alive.
        traceback.clear_frames(error.__traceback__)
    job.previewed = time.monotonic()


def _encoded(picture: Image.Image, job: ActiveJob, row: Row) -> bytes:
    """A preview without the padding of its pass."""
    one = job.pass_of(row)
    width, height = (
        -(-side * shown // whole) for side, shown, whole in zip(picture.size, one.inner, one.size, strict=True)
    )
    return encode_preview(crop(picture, (width, height)), None if job.spec.plan.whole else one.box)
