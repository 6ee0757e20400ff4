"""Jobs for the benchmarks, how an engine makes them without a queue, and when their steps were done."""

import io
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sd_api.generation.engine import Engine
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import ImageToImage, Inpaint, TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.settings import Limits

LIMITS = Limits()
PROMPT = "a dog on a blue background"
GUIDANCE = 7.5


def text_to_image(size: int, steps: int, *, seeds: Sequence[int] = (7,), **fields: Any) -> JobSpec:
    """Square pictures of a dog; ``fields`` are further fields of the operation, or others for these."""
    return _spec(TextToImage, steps, seeds, width=size, **{"height": size, **fields})


def image_to_image(size: int, steps: int, strength: float, **fields: Any) -> JobSpec:
    """A square photograph redrawn."""
    image = _ref("image", photograph(size, size))
    return _spec(ImageToImage, steps, (7,), image=image, strength=strength, **fields)


def masking(width: int, height: int, steps: int, **fields: Any) -> JobSpec:
    """A photograph of which all but a border is replaced, which is the most work for the code that finishes it."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (8, 8, width - 8, height - 8))
    images = {"image": _ref("image", photograph(width, height)), "mask": _ref("mask", mask)}
    return _spec(Inpaint, steps, (7,), strength=1.0, **images, **fields)


def photograph(width: int, height: int) -> Image.Image:
    """A photograph's likeness: smooth, with a little noise."""
    rng = np.random.default_rng(20)
    smooth = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(smooth, int) + rng.integers(-3, 4, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _spec(operation: type[Operation], steps: int, seeds: Sequence[int], **fields: Any) -> JobSpec:
    fields = {"prompt": PROMPT, "guidance": GUIDANCE, "steps": steps, **fields}
    return JobSpec(operation=operation(**fields, limits=LIMITS), seeds=tuple(seeds), limits=LIMITS)


def _ref(kind: Any, picture: Image.Image) -> ImageRef:
    file = io.BytesIO()
    picture.save(file, "PNG")
    ref = ImageRef(file.getvalue(), kind, kind, LIMITS.max_image_pixels)
    # As the server has it by then: it looks at the size of every image before a job is made.
    assert ref.size == picture.size
    return ref


class GivenJobs:
    """A feed of jobs that are there from the start."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def poll(self, at_once: int, *, active: bool) -> Sequence[Job]:  # noqa: ARG002 - a protocol's arguments
        """See Feed."""
        jobs, self._jobs = self._jobs, ()
        return jobs

    def wait(self, at_once: int) -> Sequence[Job]:  # noqa: ARG002 - a protocol's argument
        """See Feed."""
        return ()


def make(engine: Engine, *jobs: Job) -> None:
    """Let an engine make jobs, together as far as they may share forwards; raises what one ended with."""
    engine.serve(GivenJobs(jobs))
    for job in jobs:
        job.result()


class StepTimes:
    """A listener that notes when each step of a job was done, by ``time.perf_counter``.

    Attributes:
        times: One for each step, in order.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self._changed = threading.Condition()

    def __call__(self, job: Job) -> None:
        """Note the time of a step."""
        progress = job.status().progress
        if progress is not None and progress.step > len(self.times):
            with self._changed:
                self.times.append(time.perf_counter())
                self._changed.notify()

    def wait_for(self, count: int) -> None:
        """Return once that many steps are done."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.times) >= count, timeout=60)
