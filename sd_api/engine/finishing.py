"""From the model's picture to the answer's, on threads of its own, while the device works on.

Its size, what a mask keeps, how it was made, as PNG.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from PIL import Image

from sd_api.engine.active import ActiveJob
from sd_api.errors import generation_failure
from sd_api.generation.metadata import parameters_text
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.generation.result import GeneratedImage
from sd_api.imaging.blending import composite
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.sizing import crop, resize_mask
from sd_api.models.memory import out_of_memory_as_ours

log = logging.getLogger(__name__)

# Pictures that may wait to be finished; beyond that the device waits, or they would fill the memory.
BACKLOG = 32


class Finisher:
    """Finishes pictures in the background, and the jobs with them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="finishing")
        self._room = threading.Semaphore(BACKLOG)

    def finish(self, job: ActiveJob, number: int, image: Image.Image, *, nsfw: bool, scheduler: str) -> None:
        """Finish a picture soon; what goes wrong ends its job.

        Args:
            job: Whose picture it is.
            number: The picture's number in the job, counted from 0.
            image: What the model made, padded.
            nsfw: Whether it was flagged.
            scheduler: The name of the scheduler that ran.
        """
        self._room.acquire()
        self._pool.submit(partial(self._finish, job, number, image, nsfw=nsfw, scheduler=scheduler))

    def drain(self) -> None:
        """Wait until every picture is finished."""
        for _ in range(BACKLOG):
            self._room.acquire()
        self._room.release(BACKLOG)

    def _finish(self, job: ActiveJob, number: int, image: Image.Image, *, nsfw: bool, scheduler: str) -> None:
        try:
            with out_of_memory_as_ours():
                picture = finished(job, number, image, nsfw=nsfw, scheduler=scheduler)
            if job.add(number, picture):
                log.info("%s", _summary(job))
        except Exception as error:
            job.fail(generation_failure(log, error, "finishing a picture"))
        finally:
            self._room.release()


def finished(job: ActiveJob, number: int, image: Image.Image, *, nsfw: bool, scheduler: str) -> GeneratedImage:
    """Take the padding off, put back what the mask keeps, and encode; a flagged picture stays black all over."""
    spec, seeds = job.run.spec, job.run.spec.pictures[number]
    operation = spec.operation
    image = crop(image, spec.size)
    if isinstance(operation, FromImage):
        original = operation.image.pixels
        if isinstance(operation, Inpaint) and not nsfw:
            image = composite(original, image, resize_mask(operation.mask.pixels, original.size))
        if profile := original.info.get("icc_profile"):
            image.info["icc_profile"] = profile
    parameters = parameters_text(spec, seeds, scheduler=scheduler, model=job.model.label)
    return GeneratedImage(encode_png(image, parameters=parameters), seeds.seed, nsfw, seeds.variation)


def _summary(job: ActiveJob) -> str:
    spec = job.run.spec
    (width, height), count = spec.size, len(spec.seeds)
    return (
        f"{spec.operation.name} with {job.model.label}: {count} picture{'s' if count > 1 else ''} of "
        f"{width}×{height}, {spec.operation.steps} steps, "
        f"seed {spec.seeds[0]}, {time.monotonic() - job.begun:.1f} s"
    )
