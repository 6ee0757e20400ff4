"""Whatever goes wrong inside the engine ends one job with a message, and the next picture is as on a fresh server."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from requested import request
from running import FullAt, after_call, generate, parts, serve

from sd_api.engine import previews
from sd_api.errors import GenerationFailed, ServerError
from sd_api.jobs.job import Job
from sd_api.models import decoding
from sd_api.models.families import latent_previews, unet
from sd_api.models.families.base import BROKEN
from sd_api.models.families.unet import BROKEN_WORDS
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def engine(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Any:
    engine = build_engine(make_settings(dtype=request.param))
    engine.load()
    return engine


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
        (not_a_number, BROKEN),
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


class Watched(Job):
    """A job that somebody looks at all the time."""

    @property
    def preview_wanted(self) -> bool:
        return True


def run_watched(engine: Any, memory: FullAt, prompt: str) -> Job:
    """A job with everything in it: new words, previews, and an autoencoder that breaks down at first."""
    job = Watched(request(prompt, steps=1))
    latent_previews._FITS.clear()
    with after_call(parts(engine).vae.decoder, 1, lambda output: output * torch.nan), memory:
        serve(engine, [job])
    return job


def test_wherever_memory_runs_out_the_next_picture_is_as_before(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "INTERVAL", 0.0)
    expected = generate(engine, request())
    run_watched(engine, counting := FullAt(), "words that nobody has used")
    ends = set()
    # Each precision has its own places, so that both together cover as many as one could.
    for part in range(1 + (parts(engine).vae.dtype == torch.bfloat16), 16, 2):
        prompt = f"words of part {part}"
        job = run_watched(engine, FullAt(counting.count * part // 16), prompt)
        ends.add(job.status().state)
        assert job.ended
        assert generate(engine, request()) == expected
        # Nothing of half of it is remembered either.
        assert generate(engine, request(prompt)).images
    assert "failed" in ends


def test_a_failed_job_keeps_nothing_of_its_generation_in_memory(engine: Any) -> None:
    seen: list[weakref.ref[torch.Tensor]] = []

    def note_and_spoil(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append(weakref.ref(arguments[0]))
        return output * torch.nan

    job = Job(request())
    hook = parts(engine).vae.decoder.register_forward_hook(note_and_spoil)
    gc.collect()
    gc.disable()
    try:
        serve(engine, [job])
        assert job.status().state == "failed"
        assert [tensor() for tensor in seen] == [None] * len(seen)
    finally:
        gc.enable()
        hook.remove()


def test_words_that_are_not_numbers_once_are_not_remembered(engine: Any) -> None:
    def not_numbers(output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"] * torch.nan
        return output

    with after_call(parts(engine).text_encoder, 1, not_numbers), pytest.raises(GenerationFailed) as failure:
        generate(engine, request("a word that breaks"))
    assert failure.value.message == BROKEN_WORDS
    assert generate(engine, request("a word that breaks")).images


def test_a_preview_that_fails_harms_nobody(
    engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("not to be seen")

    expected = generate(engine, request(steps=4))
    monkeypatch.setattr(previews, "INTERVAL", 0.0)
    for part in ("predicted_original", "latent_preview"):
        caplog.clear()
        with monkeypatch.context() as patched:
            patched.setattr(unet, part, fail)
            job = Watched(request(steps=4))
            serve(engine, [job])
        assert job.result() == expected
        # Once, and not with every step.
        assert caplog.text.count("not to be seen") == 1
