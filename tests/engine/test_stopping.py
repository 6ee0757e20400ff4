"""What is stopped is not worked on any more: at its next step, between its pictures, before it is decoded."""

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from pictures import from_png, half_mask, photograph
from PIL import Image
from requested import request
from running import after_call, generate, parts, serve
from tiny_controls import control_net
from tiny_ip_adapters import adapter_weights, save_adapter, save_image_encoder
from tiny_loras import save_lora
from tiny_model import tiny_model

from sd_api.errors import JobCancelled
from sd_api.generation.controls import Control
from sd_api.generation.engine import Progress
from sd_api.generation.images import ImageRef
from sd_api.generation.references import Reference
from sd_api.jobs.job import Job
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    return folder


@pytest.fixture(scope="module")
def engine(make_settings: Callable[..., Settings], models: Path) -> Any:
    engine = build_engine(make_settings(models_folder=models))
    engine.load()
    return engine


class Stopped(Job):
    """A job that is cancelled while a given step is reported."""

    def __init__(self, at: int, **fields: Any) -> None:
        super().__init__(request(steps=4, **fields))
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


def test_a_cancelled_job_reads_no_further_chunk_of_its_prompt(engine: Any) -> None:
    prompt = " BREAK ".join(["dog"] * 5)
    job, read = Job(request(prompt=prompt)), 0

    def count(*_: Any) -> None:
        nonlocal read
        read += 1
        if read == 2:
            job.cancel("Not wanted.")

    hook = parts(engine).text_encoder.register_forward_hook(count)
    try:
        serve(engine, [job])
        assert read == 2
        generate(engine, request(prompt=prompt))
    finally:
        hook.remove()
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        job.result()


def test_a_cancelled_job_with_adapters_leaves_no_trace(engine: Any, models: Path) -> None:
    pipeline, image = parts(engine), ImageRef.of(photograph(64, 64), "image")
    control_net(pipeline.unet).save_pretrained(models / "controlnet" / "lines")
    save_lora(models / "loras" / "style.safetensors", deepcopy(pipeline), 6)
    save_image_encoder(models / "ip-adapter" / "models" / "image_encoder")
    save_adapter(models / "ip-adapter" / "models" / "seen.bin", adapter_weights(pipeline.unet, 3))
    fields: dict[str, Any] = {"controls": (Control(model="lines", image=image),), "loras": '{"style": 1}'}
    fields |= {"references": (Reference(adapter="seen", image=image),)}

    def png(**fields: Any) -> bytes:
        return generate(engine, request(steps=4, **fields)).images[0].png

    plain, changed = png(), png(**fields)
    assert from_png(plain).tobytes() != from_png(changed).tobytes()
    for at in (1, 3):
        job = Stopped(at, **fields)
        serve(engine, [job])
        with pytest.raises(JobCancelled):
            job.result()
        assert png() == plain
    assert png(**fields) == changed


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


class StoppedEarly(Job):
    """A job that is stopped early while a given step is reported."""

    def __init__(self, at: int, **fields: Any) -> None:
        super().__init__(request(**{"steps": 4, "scheduler": "ddim", **fields}))
        self._at = at

    def report(self, progress: Progress) -> None:
        super().report(progress)
        if progress.step == self._at and progress.phase != "loading":
            self.stop_early("Not wanted.")


def test_a_picture_that_is_stopped_early_is_what_diffusers_expects_at_that_step(engine: Any) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_model())
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    expected: list[Image.Image] = []

    def conclude(_module: Any, arguments: Any, named: Any, output: Any) -> None:
        without, with_prompt = output[0].chunk(2)
        sample, timestep = arguments[0][:1], arguments[1]
        guided = without + 7.5 * (with_prompt - without)
        original = pipeline.scheduler.step(guided, timestep, sample).pred_original_sample
        pixels = pipeline.vae.decode(original / pipeline.vae.config.scaling_factor).sample
        expected.extend(pipeline.image_processor.postprocess(pixels))

    hook = pipeline.unet.register_forward_hook(conclude, with_kwargs=True)
    generator = torch.Generator("cpu").manual_seed(7)
    pipeline("a dog", width=64, height=64, num_inference_steps=4, guidance_scale=7.5, generator=generator)
    hook.remove()
    for at in (1, 2):
        job = StoppedEarly(at)
        serve(engine, [job])
        (image,) = job.result().images
        assert from_png(image.png).tobytes() == expected[at].tobytes()
        assert "stopped early" in job.result().warnings[0]


@pytest.mark.parametrize(("at", "seeds"), [(4, (1,)), (6, (1, 2)), (8, (1, 2))])
def test_finished_pictures_are_kept_and_those_that_had_not_begun_are_missing(
    engine: Any, at: int, seeds: tuple[int, ...]
) -> None:
    job = StoppedEarly(at, seeds=(1, 2, 3))
    serve(engine, [job])
    assert tuple(image.seed for image in job.result().images) == seeds
    whole = generate(engine, request(steps=4, scheduler="ddim", seeds=(1,)))
    assert job.result().images[0] == whole.images[0]


def test_what_is_kept_stays_as_it_is_where_a_drawing_is_stopped_early(engine: Any) -> None:
    original = photograph(64, 64)
    job = StoppedEarly(1, image=original, mask=half_mask(64, 64), strength=1.0)
    serve(engine, [job])
    made = from_png(job.result().images[0].png)
    kept = (0, 0, 32, 64)
    assert made.crop(kept).tobytes() == original.crop(kept).tobytes()
    assert made.tobytes() != original.tobytes()


def test_without_any_time_no_step_is_made(engine: Any) -> None:
    before = generate(engine, request())
    job = Job(request(), max_seconds=1e-9)
    with after_call(parts(engine).unet, 1, lambda _: pytest.fail("a step was made")):
        serve(engine, [job])
    with pytest.raises(JobCancelled, match="longer than 1e-09 seconds"):
        job.result()
    assert generate(engine, request()) == before


def test_the_first_step_is_timed_like_the_others(engine: Any) -> None:
    reported: list[tuple[Progress, float]] = []

    def note(changed: Job) -> None:
        progress = changed.status().progress
        if progress is not None and progress.phase == "denoising":
            reported.append((progress, changed.working_seconds()))

    def take_time(output: Any) -> None:
        time.sleep(0.1)

    job = Job(request(steps=2))
    job.listen(note)
    with after_call(parts(engine).unet, 1, take_time):
        serve(engine, [job])
    assert [progress.step for progress, _ in reported] == [0, 1, 2]
    assert {progress.steps for progress, _ in reported} == {3}
    assert reported[1][1] >= 0.1
