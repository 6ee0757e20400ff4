"""From the model's picture to the answer's, on threads of its own, while the device works on.

Its size, what a mask keeps, how it was made, as PNG.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from PIL import Image

from sd_api.engine.active import ActiveJob
from sd_api.engine.composing import composed, layer, unchanged
from sd_api.engine.passes import Drawn, relative
from sd_api.errors import generation_failure
from sd_api.generation.metadata import parameters_text
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.generation.plan import Region, area, intersection, size_of
from sd_api.generation.result import GeneratedImage
from sd_api.generation.spec import JobSpec
from sd_api.imaging.collage import Collage
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.gamut import into_document
from sd_api.models.adapters.hashes import written_hashes
from sd_api.models.memory import out_of_memory_as_ours

log = logging.getLogger(__name__)

# Pictures that may wait to be finished; beyond that the device waits, or they would fill the memory.
BACKLOG = 32

# Pixels of a canvas from which pictures are finished one at a time: its file is read again for its alpha and its 16
# bits, which takes up to 20 bytes for each pixel.
LARGE = 32 * 1024 * 1024

# Pixels of a side of what says which colours an image has.
SAMPLED = 512


class Finisher:
    """Finishes pictures in the background, and the jobs with them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="finishing")
        self._room = threading.Semaphore(BACKLOG)
        self._large = threading.Lock()

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
            with out_of_memory_as_ours(), self._alone(job.spec):
                picture = finished(job, drawn, scheduler=scheduler)
            if job.add(drawn.picture, picture):
                log.info("%s", _summary(job))
        except Exception as error:
            job.fail(generation_failure(log, error, "finishing a picture"))
        finally:
            self._room.release()

    def _alone(self, spec: JobSpec) -> AbstractContextManager[object]:
        large = isinstance(spec.operation, FromImage) and area(spec.size) > LARGE
        return self._large if large else nullcontext()


def finished(job: ActiveJob, drawn: Drawn, *, scheduler: str) -> GeneratedImage:
    """Make the answer's picture of what was drawn, and encode it; a flagged picture is black all over."""
    spec, seeds = job.spec, job.spec.pictures[drawn.picture]
    operation, placement = spec.operation, None
    profile = operation.profile if isinstance(operation, FromImage) else None
    if isinstance(operation, FromImage) and profile:
        # In place, so that nothing else holds what composing gives up.
        drawn.regions[:] = [
            into_document(image, partial(_sample, operation, region), profile)
            # Without steps nothing is drawn.
            for image, region in zip(drawn.regions, spec.plan.regions, strict=False)
        ]
    image: Image.Image | Collage
    if isinstance(operation, Inpaint) and operation.output != "image":
        image, placement = layer(operation, spec.plan, drawn)
    elif drawn.nsfw:
        image = Image.new("RGB", spec.size)
    elif not operation.steps_run:
        assert isinstance(operation, FromImage)  # noqa: S101 - only what begins with an image may have no steps
        image = unchanged(operation)
    elif isinstance(operation, Inpaint):
        image = composed(operation, spec.plan, drawn)
    else:
        (image,) = drawn.regions
    hashes = written_hashes(job.parts.folders, operation.for_seed(seeds.seed)) if job.names_files else {}
    parameters = parameters_text(spec, seeds, scheduler=scheduler, model=job.model.label, further=hashes)
    png = encode_png(image, parameters=parameters, profile=profile)
    return GeneratedImage(png, seeds.seed, drawn.nsfw, seeds.variation, placement)


def _sample(operation: FromImage, region: Region) -> Image.Image:
    """Pixels of the image from all of what the model has seen of it; of a large part, not each of them."""
    image = operation.image.pixels
    full = (0, 0, *image.size)
    seen = intersection(relative(region.passes[-1].box, operation.margins), full) or full
    width, height = size_of(seen)
    return image.resize((min(width, SAMPLED), min(height, SAMPLED)), Image.Resampling.NEAREST, box=seen)


def _summary(job: ActiveJob) -> str:
    spec = job.spec
    (width, height), count = spec.size, len(spec.seeds)
    return (
        f"{spec.operation.name} with {job.model.label}: {count} picture{'s' if count > 1 else ''} of "
        f"{width}×{height}, {spec.operation.steps} steps, "
        f"seed {spec.seeds[0]}, {time.monotonic() - job.begun:.1f} s"
    )
