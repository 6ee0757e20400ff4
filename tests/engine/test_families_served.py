"""Families with a transformer, from a folder through the engine: steps, previews, cancelling, lack of memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SCMScheduler
from pictures import from_png, photograph
from PIL import Image
from requested import request
from running import Noted, after_call, full, generate, serve, state_of
from tiny_pipelines import write_pipeline

from sd_api.engine import previews
from sd_api.errors import JobCancelled, OutOfMemory
from sd_api.models.families.latent_previews import predicted_original
from sd_api.models.schedulers import make_scheduler, noised
from sd_api.settings import Settings
from sd_api.wiring import build_engine

# Packed latents; those of a video's autoencoder, with words of any length; normalized patches; no packing, in fp32.
NAMES = ("flux", "qwen-image", "flux.2 klein", "z-image")
SIZE, STEPS = (83, 75), 3


@pytest.fixture(scope="module")
def engine_of(make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    engines: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in engines:
            folder: Path = write_pipeline(name, tmp_path_factory.mktemp("models") / "model")
            engines[name] = build_engine(make_settings(model=str(folder), requires_safety_checker=False))
            engines[name].load()
            assert engines[name].status().state == "ready", engines[name].status().message
        return engines[name]

    return get


def asked(**changes: Any) -> Any:
    return request(**{"size": SIZE, "steps": STEPS, "guidance": 3.0, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_reported_and_a_cancelled_job_stops_at_its_step(engine_of: Any, name: str) -> None:
    engine = engine_of(name)
    job = Noted(asked(seeds=(1, 2)))
    serve(engine, [job])
    assert [from_png(image.png).size for image in job.result().images] == [SIZE, SIZE]
    assert {step for step, _ in job.steps} >= set(range(1, 2 * STEPS))
    assert {steps for _, steps in job.steps} == {2 * STEPS}
    expected = generate(engine, asked())
    stopped = Noted(asked(), cancel_at=2)
    serve(engine, [stopped])
    with pytest.raises(JobCancelled):
        stopped.result()
    assert stopped.steps[-1][0] == 2
    assert generate(engine, asked()) == expected


@pytest.mark.parametrize("name", NAMES[2:])
def test_memory_that_runs_out_anywhere_ends_one_job(engine_of: Any, name: str) -> None:
    engine = engine_of(name)
    expected = generate(engine, asked())
    before, parts = state_of(engine), engine._library.get(None).parts
    stages = [(parts.text_encoders[-1].module, "words that are not cached"), (parts.denoiser.module, "a dog")]
    for module, prompt in stages:
        with after_call(module, 1, full), pytest.raises(OutOfMemory):
            generate(engine, asked(prompt=prompt))
    with after_call(parts.autoencoder.module.decoder, 1, full):
        # Memory that runs out once costs another try, one by one.
        assert generate(engine, asked()) == expected
    assert state_of(engine) == before
    assert generate(engine, asked()) == expected


@pytest.mark.parametrize("name", NAMES[:2])
def test_words_are_read_once(engine_of: Any, name: str) -> None:
    engine = engine_of(name)
    calls: list[None] = []
    encoder = engine._library.get(None).parts.text_encoders[-1].module
    hook = encoder.register_forward_hook(lambda *_: calls.append(None))
    try:
        generate(engine, asked(prompt="never read before", negative_prompt="nor this"))
        once = len(calls)
        assert once
        generate(engine, asked(prompt="never read before", negative_prompt="nor this", seeds=(3,), steps=2))
        assert len(calls) == once
    finally:
        hook.remove()


@pytest.mark.parametrize(("name", "cell"), [("flux", 8), ("flux.2 klein", 16)])
def test_each_step_is_shown(engine_of: Any, name: str, cell: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "INTERVAL", 0.0)
    job = Noted(asked(size=(96, 64)))
    serve(engine_of(name), [job])
    job.result()
    assert [picture.size for picture in job.shown] == [(96 // cell, 64 // cell)] * STEPS


def test_the_original_of_a_flow_is_found_in_noise_that_is_known() -> None:
    original, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    arc, line = SCMScheduler(), FlowMatchEulerDiscreteScheduler(shift=3.0)
    for own, name, options in ((line, "unipc", {}), (arc, None, {"intermediate_timesteps": None})):
        scheduler = make_scheduler(name, own)
        scheduler.set_timesteps(10, **options)
        time = scheduler.timesteps[4]
        sample = noised(scheduler, original, noise, time[None])
        # The derivative of the sample, along a line or an arc.
        flow = noise - original if name else torch.cos(time) * noise - torch.sin(time) * original
        assert torch.allclose(
            predicted_original(scheduler, flow, time, sample), original, atol=5e-3
        )  # some round their times


@pytest.mark.parametrize("mask", [None, (600, 40, 680, 120)])
def test_a_large_canvas_is_made_in_tiles(engine_of: Any, mask: tuple[int, int, int, int] | None) -> None:
    engine = engine_of("stable diffusion 3")
    assert engine.status().abilities[None].native_size == 256
    given: dict[str, Any] = {"size": (704, 328)}
    if mask is not None:
        white = Image.new("L", (704, 328))
        white.paste(255, mask)
        given = {"image": photograph(704, 328), "mask": white, "strength": 0.8}
    seen: list[torch.Size] = []
    denoiser = engine._library.get(None).parts.denoiser.module
    hook = denoiser.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["hidden_states"].shape), with_kwargs=True
    )
    try:
        (image,) = generate(engine, request(steps=2, **given)).images
    finally:
        hook.remove()
    assert from_png(image.png).size == (704, 328)
    assert all(shape[2] * shape[3] <= 2.25 * 32**2 for shape in seen)


def test_a_model_says_what_it_can_do(engine_of: Any) -> None:
    able = engine_of("flux").status().abilities[None]
    assert (able.modes, able.size_multiple, able.native_size) == (("txt2img", "img2img", "masking"), 16, 1024)
    assert (able.guidance, able.defaults) == ("distilled", {"steps": 28, "guidance": 3.5})
    assert {"negative_prompt", "true_guidance"} <= set(able.capabilities)
    assert able.schedulers == ("euler", "dpm++", "unipc")
    result = generate(engine_of("flux"), asked(negative_prompt="blue", scheduler="ddim", clip_skip=2))
    assert [warning.partition(":")[0] for warning in result.warnings] == ["scheduler", "clip_skip", "negative_prompt"]


def test_more_steps_than_a_consistency_model_has_are_as_many_as_it_has(engine_of: Any) -> None:
    engine = engine_of("latent consistency")
    result = generate(engine, request(steps=60))
    assert [warning.partition(",")[0] for warning in result.warnings] == ["steps: there are 50 steps to choose from"]
    (image,), (most,) = result.images, generate(engine, request(steps=50)).images
    assert from_png(image.png).tobytes() == from_png(most.png).tobytes()


@pytest.mark.parametrize("scheduler", ["heun", "dpm++", "unipc"])
def test_other_solvers_of_a_flow_end_near_the_own_one(engine_of: Any, scheduler: str) -> None:
    engine = engine_of("stable diffusion 3")
    own, other = (generate(engine, asked(steps=30, scheduler=name)).images[0] for name in (None, scheduler))
    difference = np.asarray(from_png(own.png), float) - np.asarray(from_png(other.png), float)
    assert 0 < np.abs(difference).mean() < 4
