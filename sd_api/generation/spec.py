"""One job: an operation, the model that does it, and the seed of each picture."""

from collections.abc import Hashable, Iterator
from dataclasses import InitVar, dataclass

from sd_api.errors import InvalidFields, OutOfLimits
from sd_api.generation.fields import fields_of, out_of_range
from sd_api.generation.operations import Operation
from sd_api.generation.seeds import MAX_SEED
from sd_api.settings import Limits


@dataclass(frozen=True, kw_only=True)
class PictureSeeds:
    """The seeds of one picture; posted again, they give the same picture.

    Attributes:
        seed: The seed of its noise.
        variation: The seed of the second noise; None without variations.
    """

    seed: int
    variation: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """The value that every dialect makes, every queue carries and every engine takes.

    Attributes:
        operation: What to do.
        model: The ``url_path`` of a custom model, or ``provider:id``; None is the main model.
        seeds: The seed of each picture, 0 to ``MAX_SEED``. Every seed is used as it is.
        variation_seeds: The seed of each picture's second noise; empty where ``variation_strength`` is 0.

    Raises:
        InvalidFields: The number of pictures (``num_outputs``) or a seed is outside ``limits``.
    """

    operation: Operation
    model: str | None = None
    seeds: tuple[int, ...]
    variation_seeds: tuple[int, ...] = ()
    limits: InitVar[Limits]

    def __post_init__(self, limits: Limits) -> None:
        if faults := list(seed_faults(self.seeds, self.variation_seeds, limits)):
            raise InvalidFields(faults)

    @property
    def pictures(self) -> tuple[PictureSeeds, ...]:
        """The seeds of each picture, in order."""
        variations = self.variation_seeds or (None,) * len(self.seeds)
        return tuple(
            PictureSeeds(seed=seed, variation=variation) for seed, variation in zip(self.seeds, variations, strict=True)
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result, in pixels."""
        return self.operation.size

    @property
    def work(self) -> float:
        """How much there is to do: pictures times denoising steps times pixels."""
        width, height = self.size
        return len(self.seeds) * max(1.0, self.operation.steps * self.operation.share) * width * height

    @property
    def batch_key(self) -> Hashable:
        """Jobs with the same key may share forwards: model, size, and every field that is not marked per image."""
        shared = (
            (field.name, getattr(self.operation, field.name))
            for field in fields_of(type(self.operation))
            if not field.param.per_image
        )
        return self.model, self.size, tuple(shared)


def seed_faults(seeds: tuple[int, ...], variation_seeds: tuple[int, ...], limits: Limits) -> Iterator[OutOfLimits]:
    """Say what is wrong with the seeds of a job and with their number."""
    if problem := out_of_range(len(seeds), 1, limits.max_num_outputs):
        yield OutOfLimits("num_outputs", problem)
        return
    for name, several in (("seed", seeds), ("variation_seed", variation_seeds)):
        if several and (problem := out_of_range(several[0], 0, MAX_SEED)):
            yield OutOfLimits(name, problem)
        elif several and (problem := out_of_range(several[-1], 0, MAX_SEED)):
            yield OutOfLimits(f"{name} + num_outputs - 1", problem)
