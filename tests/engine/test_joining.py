"""Unlike jobs share forwards; they join and leave at step boundaries, and none notices the others."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pictures import half_mask, photograph
from PIL import Image
from requested import request
from running import generate, parts

from sd_api.errors import JobCancelled
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job

IMAGE, MASK = photograph(64, 64), half_mask(64, 64)
UNLIKE = (
    request("a dog", steps=8, seeds=(1,)),
    request("a cat with a hat", steps=5, seeds=(2,), guidance=3.0, scheduler="euler-a"),
    request("a red car", steps=4, seeds=(3,), guidance=1.0, scheduler="ddim", eta=1.0),
    request("a tree", steps=6, seeds=(4,), image=IMAGE, strength=0.8),
    request("a house", steps=6, seeds=(5,), image=IMAGE, mask=MASK, strength=0.9, scheduler="dpm++"),
)


class Timed:
    """A feed that brings each job at a given step boundary, counted from 0."""

    def __init__(self, jobs: dict[int, list[Job]]) -> None:
        self._jobs = jobs
        self.boundary = -1

    def poll(self, at_once: int, *, active: bool) -> list[Job]:
        self.boundary += 1
        return self._jobs.pop(self.boundary, [])

    def wait(self, at_once: int) -> list[Job]:
        assert not self._jobs
        return []


@pytest.fixture
def forwards(engine: Any) -> Iterator[list[int]]:
    """How many variants went through the UNet in each forward."""
    sizes: list[int] = []
    hook = parts(engine).unet.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    yield sizes
    hook.remove()


def assert_same(one: GenerationResult, other: GenerationResult) -> None:
    for mine, yours in zip(one.images, other.images, strict=True):
        difference = np.asarray(Image.open(BytesIO(mine.png)), int) - np.asarray(Image.open(BytesIO(yours.png)), int)
        # One step of 255: a forward of several rows rounds otherwise than one of a single row.
        assert np.abs(difference).max() <= 1


@pytest.mark.usefixtures("at_once")
def test_unlike_jobs_share_every_forward(engine: Any, forwards: list[int]) -> None:
    jobs = [Job(spec) for spec in UNLIKE]
    engine.serve(Timed({0: jobs}))
    # The longest has nine steps, since its scheduler makes one more than it is asked for.
    assert len(forwards) == 9
    # Four rows with guidance have two variants, one without has one.
    assert forwards[0] == 9
    for job in jobs:
        assert_same(job.result(), generate(engine, job.spec))


@pytest.mark.usefixtures("at_once")
def test_jobs_join_at_any_step(engine: Any, forwards: list[int]) -> None:
    jobs = [Job(spec) for spec in UNLIKE]
    engine.serve(Timed(dict(enumerate([job] for job in jobs))))
    assert forwards[:5] == [2, 4, 5, 7, 9]
    for job in jobs:
        assert_same(job.result(), generate(engine, job.spec))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_cancelled_job_leaves_at_its_next_step(engine: Any, forwards: list[int], step: int) -> None:
    class Stopped(Job):
        def report(self, progress: Any) -> None:
            if progress.phase == "denoising" and progress.step == step:
                self.cancel("Not wanted.")
            super().report(progress)

    stopped, others = Stopped(UNLIKE[0]), [Job(spec) for spec in UNLIKE[1:4]]
    engine.serve(Timed({0: [stopped, *others]}))
    with pytest.raises(JobCancelled):
        stopped.result()
    assert [size > 5 for size in forwards[:5]] == [True] * step + [False] * (5 - step)
    for job in others:
        assert_same(job.result(), generate(engine, job.spec))


def test_on_a_processor_what_came_last_is_worked_on(engine: Any) -> None:
    """One row at a time; the pictures are those that each job gets alone."""
    order: list[str] = []
    jobs = {spec.operation.prompt: Job(spec) for spec in UNLIKE}
    for name, job in jobs.items():
        job.listen(lambda changed, name=name: order.append(name) if changed.progress else None)  # type: ignore[misc]
    long, short = jobs["a dog"], jobs["a red car"]
    engine.serve(Timed({0: [long], 3: [short]}))
    first = order.index("a red car")
    assert order[:first].count("a dog") <= 5
    assert set(order[first : first + 5]) == {"a red car"}
    for job in (long, short):
        assert job.result() == generate(engine, job.spec)


def variation(strength: float, seed: int = 7, other: int = 8) -> JobSpec:
    return request(steps=3, seeds=(seed,), variation_seeds=(other,), variation_strength=strength)


def test_a_variation_goes_from_one_seed_to_the_other(engine: Any) -> None:
    def pixels(spec: JobSpec) -> Any:
        return np.asarray(Image.open(BytesIO(generate(engine, spec).images[0].png)), int)

    one, other = pixels(request(steps=3, seeds=(7,))), pixels(request(steps=3, seeds=(8,)))
    assert (pixels(variation(0.0)) == one).all()
    assert np.abs(pixels(variation(1.0)) - other).max() <= 1
    near, far = (np.abs(pixels(variation(strength)) - one).mean() for strength in (0.1, 0.6))
    assert 0 < near < far
