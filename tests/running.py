"""Runs an engine without a queue, and spoils what its parts give."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job


class Batch:
    """A feed that brings some jobs at once, and nothing more."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(jobs)

    def poll(self, at_once: int, *, active: bool) -> list[Job]:
        jobs, self._jobs = self._jobs, []
        return jobs

    def wait(self, at_once: int) -> list[Job]:
        return []


class Noted(Job):
    """A job that notes its progress and its previews, and may be cancelled after a step."""

    def __init__(self, job: JobSpec, cancel_at: int | None = None) -> None:
        super().__init__(job)
        self.steps: list[tuple[int, int]] = []
        self.shown: list[Image.Image] = []
        self._cancel_at = cancel_at

    @property
    def preview_wanted(self) -> bool:
        return True

    def show(self, preview: bytes) -> None:
        self.shown.append(Image.open(BytesIO(preview)))

    def report(self, progress: Progress) -> None:
        if progress.phase == "denoising":
            self.steps.append((progress.step, progress.steps))
        if progress.phase == "denoising" and progress.step == self._cancel_at:
            self.cancel("Nobody waits for it.")
        super().report(progress)


def serve(engine: Any, jobs: Sequence[Job]) -> None:
    """Let an engine make jobs that are there from the start; all have ended afterwards."""
    engine.serve(Batch(jobs))


def generate(engine: Any, spec: JobSpec) -> GenerationResult:
    """What an engine makes of one job; raises what the job ended with."""
    job = Job(spec)
    serve(engine, [job])
    return job.result()


def parts(engine: Any) -> Any:
    """The pipeline that holds the main model's parts."""
    return engine._library.get(None).parts.pipeline


def full(output: Any = None) -> Any:
    """Memory that is full, for ``after_call``."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def state_of(engine: Any) -> dict[str, Any]:
    """The weights of an engine's main model, as far as a change would show."""
    return {
        f"{name}.{key}": (tensor.dtype, tensor.device, tensor.double().sum().item())
        for name, part in engine._library.get(None).parts.components.items()
        for key, tensor in part.module.state_dict().items()
    }


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


class FullAt(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Memory that is full at one operation, counted from 1, wherever in the engine that is."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self._number = number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self._number:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return func(*args, **(kwargs or {}))


def fresh_runs(
    kinds: Sequence[Any], forget: Callable[[], None], run: Callable[[Any], torch.Tensor]
) -> tuple[list[torch.Tensor], list[int]]:
    """What comes of each kind of run where nothing is left of others, and how many operations it takes."""
    made, counts = [], []
    for kind in kinds:
        forget()
        with FullAt() as counted:
            made.append(run(kind))
        counts.append(counted.count)
    return made, counts
