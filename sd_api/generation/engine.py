"""What the queue needs of an engine; ``jobs`` and ``engine`` meet only here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from sd_api.errors import ServerError
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec

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


class Duration(NamedTuple):
    """How long a job will have the device, in seconds.

    Attributes:
        expected: The estimate.
        least: The lower end of its range.
        most: The upper end of its range.
        of_others: Whether it follows from the jobs of another model.
    """

    expected: float
    least: float
    most: float
    of_others: bool = False


class Run(Protocol):
    """One job on its way through an engine. Every method may be called from any of the engine's threads."""

    @property
    def spec(self) -> JobSpec:
        """What to make."""

    @property
    def duration(self) -> Duration | None:
        """How long it is expected to take; None where that is not known."""

    @property
    def preview_wanted(self) -> bool:
        """Whether a client looks at previews now."""

    @property
    def stops_early(self) -> bool:
        """Whether the job shall end at its next step, with its pictures as they are then."""

    def report(self, progress: Progress) -> None:
        """Take note of the progress.

        Raises:
            JobCancelled: The job is not wanted any more.
        """

    def show(self, preview: bytes) -> None:
        """Take a small PNG of how the first unfinished picture looks now."""

    def finish(self, result: GenerationResult) -> None:
        """End well; after any other end this changes nothing."""

    def fail(self, error: ServerError) -> None:
        """End badly; after any other end this changes nothing."""


class Feed(Protocol):
    """Where an engine gets its jobs; asked always from the engine's thread.

    The engine works on the jobs that came last, and on those that share their forwards, before those that came earlier.
    """

    def poll(self, at_once: int, *, active: bool) -> Sequence[Run]:
        """The jobs to begin at this step boundary, if there are any; does not wait.

        Args:
            at_once: How many pictures the engine makes in one forward.
            active: Whether the device has work; then only jobs come that share forwards, or that may overtake.
        """

    def wait(self, at_once: int) -> Sequence[Run]:
        """Wait for the next jobs; to be called when every job has ended. Without any, the engine shall return."""


@dataclass(frozen=True)
class ModelMemory:
    """A model that is loaded.

    Attributes:
        model: its label.
        bytes: the size of its weights.
        on_device: whether it is where it runs, rather than in the host's memory for the time being.
        load_seconds: how long it took to load it, its download included.
        plan: how it runs, in few words: precision, weights, placement.
        reasons: why, in short sentences.
        peak: the most bytes of the device's memory that one picture of its native size takes, about; None if unknown.
        seen: the pixels of images for which ``peak`` is enough, which its denoiser sees beside the picture.
        more_seen: the bytes that each further million of such pixels takes at most.
    """

    model: str
    bytes: int
    on_device: bool
    load_seconds: float
    plan: str = ""
    reasons: tuple[str, ...] = ()
    peak: int | None = None
    seen: int = 0
    more_seen: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """How a model of the configuration would run that is on this machine and not loaded.

    Attributes:
        model: its label.
        bytes: the size of its weights as they would be loaded.
        peak, seen, more_seen: see ModelMemory.
        reasons: how it would run and why, in short sentences.
    """

    model: str
    bytes: int
    peak: int
    seen: int
    more_seen: int
    reasons: tuple[str, ...]


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
class Download:
    """How far the download of a model is.

    Attributes:
        bytes: Those that have arrived.
        total_bytes: Those of all its files.
    """

    bytes: int
    total_bytes: int


@dataclass(frozen=True)
class EngineStatus:
    """What an engine says of itself.

    Attributes:
        state: ``loading`` until the main model is there, then ``ready``; ``failed`` where it cannot be had.
        model: the main model: its id on the hub, or the name of its folder or file.
        device: for example ``cuda:0``; None until it has been chosen.
        dtype: ``fp32``, ``fp16`` or ``bf16``; None until it has been chosen.
        message: why it failed and what to do; None otherwise.
        download: of the main model, while it is downloaded.
        models: those that are loaded.
        planned: those that are not, as far as their files are on this machine.
        memory: of the device; None where it shares the host's.
        abilities: what each of them can do, by its ``url_path``; that of the main model is None.
        flops: what models compute for each pixel of a prediction, about, by the same names; also of those that are not
            loaded, as far as their files are on this machine.
    """

    state: Literal["loading", "ready", "failed"]
    model: str
    device: str | None = None
    dtype: str | None = None
    message: str | None = None
    download: Download | None = None
    models: tuple[ModelMemory, ...] = ()
    planned: tuple[PlannedModel, ...] = ()
    memory: DeviceMemory | None = None
    abilities: Mapping[str | None, ModelAbilities] = field(default_factory=dict)
    flops: Mapping[str | None, float] = field(default_factory=dict)


class Engine(Protocol):
    """Makes pictures; all but ``status`` is called from one thread, which owns the device."""

    def load(self) -> None:
        """Load the main model; a failure is not raised, ``status`` tells it."""

    def at_once(self) -> int:
        """How many pictures are best made in one forward."""

    def serve(self, feed: Feed) -> None:
        """Make what a feed brings, step by step, and end each job, until the feed has nothing more.

        A job that is cancelled or that fails does not affect the others.

        Raises:
            Exception: For a reason that concerns all jobs that have not ended; the next call is not affected.
        """

    def status(self) -> EngineStatus:
        """The engine's state; may be called from any thread at any time."""
