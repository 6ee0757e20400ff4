"""Out of memory: smaller first, failure last, and the next request gives the same picture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from requested import request as asked
from running import Batch, generate

from sd_api.errors import OutOfMemory
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.models.decoding import IN_TILES
from sd_api.models.memory import out_of_memory_as_ours
from sd_api.settings import Settings
from sd_api.wiring import build_engine


def request(count: int = 1) -> JobSpec:
    return asked(steps=2, seeds=tuple(range(10, 10 + count)))


@pytest.fixture(scope="module")
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Any:
    engine = build_engine(settings)
    engine.load()
    assert engine.status().state == "ready"
    return engine


@contextmanager
def memory_for(engine: Any, fits: Callable[[torch.Tensor], bool]) -> Iterator[list[int]]:
    """Let the real UNet run out of memory unless its input fits; yields the batch sizes that were tried."""
    tried: list[int] = []

    def check(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        tried.append(arguments[0].shape[0])
        if not fits(arguments[0]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hook = engine._library.get(None).parts.pipeline.unet.register_forward_pre_hook(check)
    try:
        yield tried
    finally:
        hook.remove()


def test_fewer_pictures_at_once_where_all_do_not_fit(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = generate(engine, request(3))
    # As on a GPU, where all pictures are tried in one pass.
    monkeypatch.setattr(type(engine), "at_once", lambda self: 16)
    with memory_for(engine, lambda latents: latents.shape[0] <= 2) as tried:
        result = generate(engine, request(3))
    assert tried[0] == 6  # three pictures, each with and without the prompt
    assert set(tried[1:]) == {2}
    assert [image.seed for image in result.images] == [10, 11, 12]
    assert result.images == expected.images
    assert not expected.warnings
    assert result.warnings == ("Memory ran out with 3 pictures at once, so fewer were made at a time.",)


def test_other_models_make_room_before_a_batch_gets_smaller(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(engine), "at_once", lambda self: 16)
    gone: list[str] = []

    def move_others_away() -> bool:
        gone.append("others")
        return len(gone) == 1

    monkeypatch.setattr(engine._library, "make_room", move_others_away)
    with memory_for(engine, lambda latents: bool(gone)) as tried:
        result = generate(engine, request(3))
    assert set(tried) == {6}
    assert len(result.images) == 3
    assert not result.warnings
    # Where nothing is left to go, it does not try for ever.
    with memory_for(engine, lambda latents: False), pytest.raises(OutOfMemory):
        generate(engine, request())


def test_a_message_where_not_even_one_fits(engine: Any) -> None:
    before = generate(engine, request())
    with (
        memory_for(engine, lambda latents: False) as tried,
        pytest.raises(OutOfMemory, match=r"64×64.*not even for one.*Try a smaller size"),
    ):
        generate(engine, request())
    assert len(tried) == 1
    vae = engine._library.get(None).parts.pipeline.vae
    assert not vae.use_tiling
    assert not vae.use_slicing
    assert generate(engine, request()) == before


def test_decoding_in_tiles_saves_a_picture(engine: Any) -> None:
    vae = engine._library.get(None).parts.pipeline.vae
    calls = 0

    def whole_is_too_much(module: torch.nn.Module, arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = vae.decoder.register_forward_pre_hook(whole_is_too_much)
    try:
        assert generate(engine, request()).warnings == (IN_TILES,)
    finally:
        hook.remove()
    assert not vae.use_tiling


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("Invalid buffer size: 12.00 GB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_devices_way_of_saying_it_is_understood(error: Exception) -> None:
    with pytest.raises(OutOfMemory), out_of_memory_as_ours():
        raise error


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_as_ours():
        raise RuntimeError("shapes cannot be multiplied")


def test_a_real_allocation_beyond_all_memory_is_understood() -> None:
    with pytest.raises(OutOfMemory), out_of_memory_as_ours():
        torch.empty(2**60)


def test_after_it_no_more_jobs_join_than_fit(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those would take the turns of the jobs before them."""
    monkeypatch.setattr(type(engine), "at_once", lambda self: 16)
    rooms: list[int] = []

    class Asked(Batch):
        def poll(self, at_once: int, *, active: bool) -> list[Job]:
            rooms.append(at_once)
            return super().poll(at_once, active=active)

    with memory_for(engine, lambda latents: latents.shape[0] <= 4):
        engine.serve(Asked([Job(request(4))]))
    assert (rooms[0], set(rooms[1:-1]), rooms[-1]) == (16, {2}, 16)
