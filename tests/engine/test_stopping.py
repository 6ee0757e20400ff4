"""What is stopped is not worked on any more: at its next step, between its pictures, before it is decoded."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from requested import request
from running import after_call, generate, parts, serve

from sd_api.errors import JobCancelled
from sd_api.generation.engine import Progress
from sd_api.jobs.job import Job
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture(scope="module")
def engine(make_settings: Callable[..., Settings]) -> Any:
    engine = build_engine(make_settings())
    engine.load()
    return engine


class Stopped(Job):
    """A job that is cancelled while a given step is reported."""

    def __init__(self, at: int) -> None:
        super().__init__(request(steps=4))
        self._at = at

    def report(self, progress: Any) -> None:
        if progress.step == self._at:
            self.cancel("Not wanted.")
        super().report(progress)


@pytest.mark.parametrize("at", [0, 1, 2, 4, 5])
def test_a_cancelled_job_is_not_worked_on_any_more(engine: Any, at: int) -> None:
    steps, decoded = 0, 0

    def count_step(*_: Any) -> None:
        nonlocal steps
        steps += 1

    def count_decoding(*_: Any) -> None:
        nonlocal decoded
        decoded += 1

    hooks = [
        parts(engine).unet.register_forward_hook(count_step),
        parts(engine).vae.decoder.register_forward_hook(count_decoding),
    ]
    job = Stopped(at)
    try:
        serve(engine, [job])
    finally:
        for hook in hooks:
            hook.remove()
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        job.result()
    # plms makes one step more than it is asked for.
    assert (steps, decoded) == (at, 0)


def test_a_job_that_is_cancelled_while_its_first_picture_is_decoded_begins_no_second(engine: Any) -> None:
    steps = 0

    def count_step(*_: Any) -> None:
        nonlocal steps
        steps += 1

    job = Job(request(seeds=(1, 2)))
    hooks = [
        parts(engine).unet.register_forward_hook(count_step),
        parts(engine).vae.decoder.register_forward_hook(lambda *_: job.cancel("Not wanted.")),
    ]
    try:
        serve(engine, [job])
    finally:
        for hook in hooks:
            hook.remove()
    assert steps == 1


def test_without_any_time_no_step_is_made(engine: Any) -> None:
    before = generate(engine, request())
    job = Job(request(), max_seconds=1e-9)
    with after_call(parts(engine).unet, 1, lambda _: pytest.fail("a step was made")):
        serve(engine, [job])
    with pytest.raises(JobCancelled, match="longer than 1e-09 seconds"):
        job.result()
    assert generate(engine, request()) == before


def test_the_first_step_is_timed_like_the_others(engine: Any) -> None:
    told: list[tuple[Progress, float]] = []

    def note(changed: Job) -> None:
        progress = changed.status().progress
        if progress is not None and progress.phase == "denoising":
            told.append((progress, changed.working_seconds()))

    def take_time(output: Any) -> None:
        time.sleep(0.1)

    job = Job(request(steps=2))
    job.listen(note)
    with after_call(parts(engine).unet, 1, take_time):
        serve(engine, [job])
    assert [progress.step for progress, _ in told] == [0, 1, 2]
    assert {progress.steps for progress, _ in told} == {3}
    assert told[1][1] >= 0.1
