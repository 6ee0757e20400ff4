"""Several jobs in one batch: each gets the picture that it would get alone, and its own end."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from pictures import half_mask, photograph
from PIL import Image, ImageOps
from requested import request
from running import generate, parts, serve

from sd_api.errors import GenerationFailed, JobCancelled
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job


def asked(prompt: str, *seeds: int, **fields: Any) -> JobSpec:
    return request(prompt, steps=3, seeds=seeds, **fields)


REQUESTS = (
    asked("a dog", 1, 2),
    asked("a cat with a hat", 3),
    asked("a dog", 4, negative_prompt="blue"),
)


def pixels(result: GenerationResult) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(Image.open(BytesIO(image.png)), np.int16) for image in result.images]


def assert_same(one: GenerationResult, other: GenerationResult) -> None:
    assert [image.seed for image in one.images] == [image.seed for image in other.images]
    for mine, yours in zip(pixels(one), pixels(other), strict=True):
        assert np.abs(mine - yours).max() <= 1


def assert_as_alone(engine: Any, jobs: list[Job]) -> None:
    for job in jobs:
        assert_same(job.result(), generate(engine, job.spec))


@pytest.mark.usefixtures("at_once")
def test_each_job_gets_the_picture_that_it_gets_alone(engine: Any) -> None:
    alone = [generate(engine, one) for one in REQUESTS]
    jobs = [Job(one) for one in REQUESTS]
    sizes: list[int] = []
    hook = parts(engine).unet.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    try:
        serve(engine, jobs)
    finally:
        hook.remove()
    # Four pictures, each with and without its prompt.
    assert set(sizes) == {8}
    for job, expected in zip(jobs, alone, strict=True):
        assert_same(job.result(), expected)
    assert jobs[0].status().progress == Progress("decoding", 8, 8)
    assert jobs[1].status().progress == Progress("decoding", 4, 4)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("scheduler", [None, "euler-a", "ddim"])
@pytest.mark.parametrize("masked", [False, True])
def test_images_that_are_changed_together_are_as_alone(engine: Any, masked: bool, scheduler: str | None) -> None:
    """With schedulers that draw noise at each step, too."""
    image = photograph(64, 64)
    common: dict[str, Any] = {"strength": 0.7, "scheduler": scheduler, "eta": 1.0}
    if masked:
        common["mask"] = half_mask(64, 64)
    jobs = [
        Job(asked("a dog", 1, 2, image=image, **common)),
        Job(asked("a cat with a hat", 3, image=ImageOps.mirror(image), **common)),
    ]
    serve(engine, jobs)
    assert_as_alone(engine, jobs)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_cancelled_member_leaves_the_others_as_they_are(engine: Any, at: int) -> None:
    jobs = [Job(one) for one in REQUESTS]

    def cancel(watched: Job) -> None:
        progress = watched.status().progress
        if progress is not None and progress.step == at:
            jobs[0].cancel("Not wanted.")

    jobs[1].listen(cancel)
    serve(engine, jobs)
    with pytest.raises(JobCancelled):
        jobs[0].result()
    assert_as_alone(engine, jobs[1:])


@pytest.mark.usefixtures("at_once")
def test_a_member_whose_latents_break_down_fails_alone(engine: Any) -> None:
    jobs = [Job(one) for one in REQUESTS]

    def spoil_first_row(module: torch.nn.Module, arguments: Any, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        spoilt = output[0].clone()
        spoilt[0] = torch.nan
        return (spoilt,)

    hook = parts(engine).unet.register_forward_hook(spoil_first_row)
    try:
        serve(engine, jobs)
    finally:
        hook.remove()
    with pytest.raises(GenerationFailed, match="not numbers"):
        jobs[0].result()
    assert_as_alone(engine, jobs[1:])


@pytest.mark.usefixtures("at_once")
def test_a_batch_that_fails_is_made_one_by_one(engine: Any) -> None:
    jobs = [Job(one) for one in REQUESTS]

    def refuse_batches(module: torch.nn.Module, arguments: Any) -> None:
        if len(arguments[0]) > 2:
            raise ValueError("too many")

    hook = parts(engine).unet.register_forward_pre_hook(refuse_batches)
    try:
        serve(engine, jobs)
    finally:
        hook.remove()
    assert_as_alone(engine, jobs)


def test_without_guidance_the_unet_does_half_the_work(engine: Any) -> None:
    rows: list[int] = []
    hook = parts(engine).unet.register_forward_hook(lambda *call: rows.append(len(call[1][0])))
    try:
        for guidance_scale in (0, 1, 1.1):
            generate(engine, asked("a dog", 1, guidance=guidance_scale))
    finally:
        hook.remove()
    assert rows == [1] * 8 + [2] * 4


def test_words_are_encoded_once(engine: Any) -> None:
    encoded: list[str] = []
    hook = parts(engine).text_encoder.register_forward_hook(lambda *call: encoded.append("once"))
    try:
        words = {"negative_prompt": "nor these words"}
        first = generate(engine, asked("a word that nobody has used", 1, **words))
        assert generate(engine, asked("a word that nobody has used", 1, **words)) == first
    finally:
        hook.remove()
    # The prompt, and the one that it is guided away from.
    assert len(encoded) == 2
