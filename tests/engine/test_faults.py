"""Whatever goes wrong inside the engine ends one job with a message, and the next picture is as on a fresh server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from requested import request
from running import generate

from sd_api.engine import decoding, denoising
from sd_api.errors import GenerationFailed, JobCancelled, ServerError
from sd_api.jobs.job import Job
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def engine(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Any:
    engine = build_engine(make_settings(dtype=request.param))
    engine.load()
    return engine


def parts(engine: Any) -> Any:
    return engine._library.get(None).base


@contextmanager
def after_call(module: torch.nn.Module, number: int, spoil: Callable[[Any], Any]) -> Iterator[None]:
    """Let ``spoil`` change what a part of the pipeline gives in its ``number``-th call, counted from 1."""
    calls = 0

    def hook(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        return spoil(output) if calls == number else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def not_a_number(output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (output[0] * torch.nan,)


def too_wide(output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (torch.cat([output[0]] * 2, -1),)


def broken(output: Any) -> Any:
    raise ValueError("a secret detail")


def out_of_memory(output: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (not_a_number, denoising.BROKEN),
        (too_wide, "Something unexpected went wrong."),
        (broken, "Something unexpected went wrong."),
        (out_of_memory, "There is not enough memory for a picture of 64×64"),
    ],
)
def test_a_fault_at_any_step_ends_this_job_alone(
    engine: Any, step: int, spoil: Callable[[Any], Any], message: str
) -> None:
    before = generate(engine, request(steps=3))
    with after_call(parts(engine).unet, step, spoil), pytest.raises(ServerError) as failure:
        generate(engine, request(steps=3))
    assert failure.value.message.startswith(message)
    assert "secret" not in failure.value.message
    assert generate(engine, request(steps=3)) == before


def test_an_autoencoder_that_breaks_down_in_half_precision_runs_again_in_fp32(engine: Any) -> None:
    vae = parts(engine).vae
    half = vae.dtype == torch.bfloat16
    good = generate(engine, request(steps=2))

    def overflow(output: torch.Tensor) -> torch.Tensor:
        return output * torch.nan

    with after_call(vae.decoder, 1, overflow):
        if half:
            result = generate(engine, request(steps=2))
            assert result.warnings == (decoding.IN_FULL_PRECISION,)
        else:
            with pytest.raises(GenerationFailed, match="Try another seed"):
                generate(engine, request(steps=2))
    assert vae.dtype == parts(engine).unet.dtype
    assert generate(engine, request(steps=2)) == good


def test_an_autoencoder_that_gives_no_numbers_at_all_fails(engine: Any) -> None:
    vae = parts(engine).vae
    hook = vae.decoder.register_forward_hook(lambda *call: call[2] * torch.nan)
    try:
        with pytest.raises(GenerationFailed, match="in fp32 neither"):
            generate(engine, request(steps=2))
    finally:
        hook.remove()
    assert generate(engine, request(steps=2)).images


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
        engine.generate([job])
    finally:
        for hook in hooks:
            hook.remove()
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        job.result()
    # plms makes one step more than it is asked for.
    assert (steps, decoded) == (at, 0)
