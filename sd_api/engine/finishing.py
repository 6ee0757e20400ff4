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
from sd_api.engine.passes import Drawn, own_mask, relative
from sd_api.errors import generation_failure
from sd_api.generation.metadata import parameters_text
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.generation.plan import Plan, Region, size_of
from sd_api.generation.result import GeneratedImage
from sd_api.imaging.blending import composite
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.masks import with_seam
from sd_api.models.memory import out_of_memory_as_ours

log = logging.getLogger(__name__)

# Pictures that may wait to be finished; beyond that the device waits, or they would fill the memory.
BACKLOG = 32

# Pixels in which a region fades into the canvas where no request says it: wide enough to hide a step of colour, and
# narrow enough not to show what was there before.
WIDEST_SEAM = 16


class Finisher:
    """Finishes pictures in the background, and the jobs with them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="finishing")
        self._room = threading.Semaphore(BACKLOG)

    def finish(self, job: ActiveJob, drawn: Drawn, *, scheduler: str) -> None:
        """Finish a picture soon; what goes wrong ends its job.

        Args:
            job: Whose picture it is.
            drawn: What the model made of it.
            scheduler: The name of the scheduler that ran.
        """
        self._room.acquire()
        self._pool.submit(partial(self._finish, job, drawn, scheduler=scheduler))

    def drain(self) -> None:
        """Wait until every picture is finished."""
        for _ in range(BACKLOG):
            self._room.acquire()
        self._room.release(BACKLOG)

    def _finish(self, job: ActiveJob, drawn: Drawn, *, scheduler: str) -> None:
        try:
            with out_of_memory_as_ours():
                picture = finished(job, drawn, scheduler=scheduler)
            if job.add(drawn.picture, picture):
                log.info("%s", _summary(job))
        except Exception as error:
            job.fail(generation_failure(log, error, "finishing a picture"))
        finally:
            self._room.release()


def finished(job: ActiveJob, drawn: Drawn, *, scheduler: str) -> GeneratedImage:
    """Put the regions into the canvas, and encode; a flagged picture is black all over."""
    spec, seeds = job.spec, job.spec.pictures[drawn.picture]
    operation = spec.operation
    if drawn.nsfw:
        image = Image.new("RGB", spec.size)
    elif not operation.steps_run:
        assert isinstance(operation, FromImage)  # noqa: S101 - only what begins with an image may have no steps
        image = operation.canvas
    elif isinstance(operation, Inpaint):
        image = _composed(operation, spec.plan, drawn)
    else:
        (image,) = drawn.regions
    if isinstance(operation, FromImage) and (profile := operation.image.pixels.info.get("icc_profile")):
        image.info["icc_profile"] = profile
    parameters = parameters_text(spec, seeds, scheduler=scheduler, model=job.model.label)
    return GeneratedImage(encode_png(image, parameters=parameters), seeds.seed, drawn.nsfw, seeds.variation)


def _composed(operation: Inpaint, plan: Plan, drawn: Drawn) -> Image.Image:
    """The canvas with what was drawn in each region; every other pixel is as it was."""
    canvas = operation.canvas
    # One copy of the canvas, and none where a region covers it.
    result = None
    for region, image in zip(plan.regions, drawn.regions, strict=True):
        box = region.passes[-1].box
        mask = with_seam(own_mask(operation.replaced, region, box), _seam(operation, plan, region))
        blended = composite(canvas.crop(box), image, mask)
        if box == (0, 0, *plan.size) and len(plan.regions) == 1:
            return blended
        result = result or canvas.copy()
        result.paste(blended.crop(relative(region.edit, box)), region.edit[:2])
    assert result is not None  # noqa: S101 - a plan has regions
    return result


def _seam(operation: Inpaint, plan: Plan, region: Region) -> int:
    if operation.seam is not None:
        return operation.seam
    return 0 if plan.whole else min(WIDEST_SEAM, min(size_of(region.edit)) // 8)


def _summary(job: ActiveJob) -> str:
    spec = job.run.spec
    (width, height), count = spec.size, len(spec.seeds)
    return (
        f"{spec.operation.name} with {job.model.label}: {count} picture{'s' if count > 1 else ''} of "
        f"{width}×{height}, {spec.operation.steps} steps, "
        f"seed {spec.seeds[0]}, {time.monotonic() - job.begun:.1f} s"
    )
