"""What the queue needs of an engine; ``jobs`` and ``engine`` meet only here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from sd_api.errors import ServerError
from sd_api.generation.request import GenerationRequest, Mode
from sd_api.generation.result import GenerationResult

Phase = Literal["downloading", "loading", "denoising", "decoding"]


@dataclass(frozen=True)
class Progress:
    """Where a generation stands.

    Attributes:
        phase: what is being done now.
        step: the denoising steps that are done, 0 to ``steps``; those of each picture are counted.
        steps: those that there are, of all pictures; 0 while that is not known.
        bytes: what has arrived of the model that is being downloaded; None in other phases.
        total_bytes: what there is of it, as far as that is known; None in other phases.
    """

    phase: Phase
    step: int = 0
    steps: int = 0
    bytes: int | None = None
    total_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that clients get: those with a meaning in this phase."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Run(Protocol):
    """One request on its way through an engine, and whoever waits for it."""

    @property
    def request(self) -> GenerationRequest:
        """What to make."""

    @property
    def preview_wanted(self) -> bool:
        """Whether somebody looks at previews now."""

    def report(self, progress: Progress) -> None:
        """Be told of a step.

        Raises:
            JobCancelled: nobody wants this run any more.
        """

    def show(self, preview: bytes) -> None:
        """Be shown a small PNG of how the first picture looks now."""

    def finish(self, result: GenerationResult) -> None:
        """End well; after any other end it changes nothing."""

    def fail(self, error: ServerError) -> None:
        """End badly; after any other end it changes nothing."""


@dataclass(frozen=True)
class ModelMemory:
    """A model that is loaded.

    Attributes:
        model: its label.
        bytes: the size of its weights.
        on_device: whether it is where it runs, rather than in the host's memory for the time being.
        load_seconds: how long it took to load it, its download included.
    """

    model: str
    bytes: int
    on_device: bool
    load_seconds: float


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of a device that has its own.

    Attributes:
        total: bytes that it has.
        free: bytes that no program uses.
    """

    total: int
    free: int


@dataclass(frozen=True)
class ModelAbilities:
    """What a model can do, as far as it tells once it is loaded.

    Attributes:
        modes: the kinds of generation that it was made for.
        size_multiple: pixels; other sizes are padded up to a multiple of this.
        native_size: pixels; the side of the squares that it was trained with, None where it does not say.
    """

    modes: tuple[Mode, ...]
    size_multiple: int
    native_size: int | None


@dataclass(frozen=True)
class EngineStatus:
    """What an engine says of itself.

    Attributes:
        state: ``loading`` until the main model is there, then ``ready``; ``failed`` where it cannot be had.
        model: the main model: its id on the hub, or the name of its folder or file.
        device: for example ``cuda:0``; None until it has been chosen.
        dtype: ``fp32``, ``fp16`` or ``bf16``; None until it has been chosen.
        message: why it failed and what to do; None otherwise.
        models: those that are loaded.
        memory: of the device; None where it shares the host's.
        abilities: what each of them can do, by its ``url_path``; that of the main model is None.
    """

    state: Literal["loading", "ready", "failed"]
    model: str
    device: str | None = None
    dtype: str | None = None
    message: str | None = None
    models: tuple[ModelMemory, ...] = ()
    memory: DeviceMemory | None = None
    abilities: Mapping[str | None, ModelAbilities] = field(default_factory=dict)


class Engine(Protocol):
    """Makes pictures, always called from the same thread."""

    def load(self) -> None:
        """Load the main model; a failure is not raised but told by ``status``."""

    def at_once(self) -> int:
        """How many pictures are best made at once, where there are as many."""

    def generate(self, runs: Sequence[Run]) -> None:
        """Make the pictures of one request, or of several with the same ``batch_key``, and end each run.

        A run that is cancelled or that fails does not affect the others.

        Raises:
            Exception: for a reason that concerns all runs that have not ended; the next call is not affected.
        """

    def status(self) -> EngineStatus:
        """Tell how the engine is; may be called from any thread at any time."""
