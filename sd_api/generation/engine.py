"""What the queue needs of an engine; ``jobs`` and ``engine`` meet only here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GenerationResult

Phase = Literal["loading", "denoising", "decoding"]


@dataclass(frozen=True)
class Progress:
    """Where a generation stands.

    Attributes:
        phase: what is being done now.
        step: the steps of this phase that are done, 0 to ``steps``.
        steps: the steps that this phase has; 0 where it has none to count.
    """

    phase: Phase
    step: int = 0
    steps: int = 0


OnProgress = Callable[[Progress], None]
"""Is told of every step, from the engine's thread; what it raises stops the generation."""


@dataclass(frozen=True)
class EngineStatus:
    """What an engine says of itself.

    Attributes:
        state: ``loading`` until the main model is there, then ``ready``; ``failed`` where it cannot be had.
        model: the main model: its id on the hub, or the name of its folder or file.
        device: for example ``cuda:0``; None until it has been chosen.
        dtype: ``fp32``, ``fp16`` or ``bf16``; None until it has been chosen.
        message: why it failed and what to do; None otherwise.
    """

    state: Literal["loading", "ready", "failed"]
    model: str
    device: str | None = None
    dtype: str | None = None
    message: str | None = None


class Engine(Protocol):
    """Makes pictures, one request at a time, always called from the same thread."""

    def load(self) -> None:
        """Load the main model; a failure is not raised but told by ``status``."""

    def generate(self, request: GenerationRequest, on_progress: OnProgress) -> GenerationResult:
        """Make the pictures of ``request``.

        Raises:
            ServerError: in words for the person who asked; the next request is not affected.
            Exception: whatever ``on_progress`` raises.
        """

    def status(self) -> EngineStatus:
        """Tell how the engine is; may be called from any thread at any time."""
