"""One job: an operation, the model that does it, and the seed of each picture."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property
from typing import Annotated, Any

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits
from sd_api.generation.abilities import ModelAbilities, SeenImages
from sd_api.generation.fields import Param, derived, fields_of, out_of_range
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, FromImage, Inpaint, images_of
from sd_api.generation.plan import Pass, Plan, area
from sd_api.generation.planning import plan
from sd_api.generation.seeds import MAX_SEED, seeds_from
from sd_api.generation.words import Words
from sd_api.settings import Limits

# Decoding a picture and looking at it for the safety filter take about as long as so many steps, and encoding an image
# that a pass begins with. Models differ: these are between the built-in one and those of billions of parameters.
DECODING_STEPS, ENCODING_STEPS = 7, 2

# Compositing a canvas and encoding it as PNG, for each pixel: on the processor, whatever the model.
FINISHING_SECONDS = 6e-8

# What a ControlNet computes of each step in which it acts, by what the model does: it is a copy of its first half.
FOLLOWING = 0.5

# What a forward costs beside its own pixels, in pixels.
FORWARD_PIXELS = 256 * 256


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """How many pictures a request asks for, and their seeds; declared as the fields of an operation are."""

    seed: Annotated[
        int | None,
        Param(
            label="Seed",
            description="The seed of the first picture; the next picture has one more. "
            "One is chosen for each picture where none is given.",
            example=42,
            low=0,
            high=MAX_SEED,
            control="seed",
            step=1,
            png_key="Seed",
            aliases=("noise_seed", "manual_seed", "random_seed"),
        ),
    ] = None
    num_outputs: Annotated[
        int,
        Param(
            label="Number of pictures",
            description="How many pictures to make.",
            example=1,
            low=1,
            high="max_num_outputs",
            step=1,
            aliases=("n", "n_iter", "batch_size", "num_images", "num_images_per_prompt", "num_samples", "count"),
        ),
    ] = 1


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
        abilities: What is known of the model; None until it has been loaded somewhere.
        seeds: The seed of each picture, 0 to ``MAX_SEED``. Every seed is used as it is.
        variation_seeds: The seed of each picture's second noise; empty where ``variation_strength`` is 0.
        warnings: What the answer has to say of the request, as sentences.
        left_open: The fields that the request does not name; the model's defaults take the place of the dialect's.

    Raises:
        InvalidFields: The number of pictures (``num_outputs``) or a seed is outside ``limits``.
    """

    operation: Operation
    model: str | None = None
    seeds: tuple[int, ...]
    variation_seeds: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()
    abilities: ModelAbilities | None = None
    limits: InitVar[Limits]

    def __post_init__(self, limits: Limits) -> None:
        if faults := list(seed_faults(self.seeds, self.variation_seeds, limits)):
            raise InvalidFields(faults)

    @classmethod
    def choose(
        cls,
        operation: type[Operation],
        fields: Mapping[str, Any],
        outputs: Outputs,
        *,
        model: str | None,
        limits: Limits,
        warnings: Sequence[str] = (),
        left_open: Sequence[str] = (),
    ) -> "JobSpec":
        """Make a job of what a client asked for, and choose the seeds that it left open.

        With variations all pictures have the same seed, and each picture has a variation seed of its own.

        Args:
            operation: What to do.
            fields: The fields of the operation.
            outputs: How many pictures, at most ``limits.max_num_outputs``, and the seed of the first one.
            model: See JobSpec.
            limits: What may be asked for.
            warnings: See JobSpec.
            left_open: See JobSpec.

        Raises:
            InvalidFields: Naming every field that is outside ``limits``, by its canonical name.
        """
        faults: list[InvalidField] = []
        made = None
        try:
            made = operation(**fields, limits=limits)
        except InvalidFields as error:
            faults += error.faults
        seeds = seeds_from(outputs.seed, outputs.num_outputs)
        variation_seeds: tuple[int, ...] = ()
        if fields.get("variation_strength"):
            seeds = seeds[:1] * outputs.num_outputs
            variation_seeds = seeds_from(fields.get("variation_seed"), outputs.num_outputs)
        if made is None:
            raise InvalidFields([*faults, *seed_faults(seeds, variation_seeds, limits)])
        return cls(
            operation=made,
            model=model,
            seeds=seeds,
            variation_seeds=variation_seeds,
            warnings=tuple(warnings),
            left_open=tuple(left_open),
            limits=limits,
        )

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

    def for_model(self, abilities: ModelAbilities | None) -> "JobSpec":
        """The same job, planned for a model with such abilities, with its defaults where the request names no value."""
        if abilities == self.abilities:
            return self
        chosen = {} if abilities is None else self._chosen(abilities)
        operation = derived(self.operation, type(self.operation), **chosen) if chosen else self.operation
        return derived(self, JobSpec, abilities=abilities, operation=operation)

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The values that the model has chosen for the request, by the canonical names of their fields."""
        return {} if self.abilities is None else self._chosen(self.abilities)

    def _chosen(self, abilities: ModelAbilities) -> dict[str, Any]:
        return {name: value for name, value in abilities.defaults.items() if name in self.left_open}

    @cached_property
    def plan(self) -> Plan:
        """How each picture is made; an estimate while ``abilities`` is None."""
        return plan(self.operation) if self.abilities is None else plan(self.operation, self.abilities)

    @property
    def is_settled(self) -> bool:
        """Whether neither its plan nor its fields nor its work depend on what its model can do."""
        operation = self.operation
        beside = isinstance(operation, (Edit, Inpaint)) or operation.references or operation.controls
        return self.plan.whole and not self.left_open and not beside

    @property
    def rows(self) -> int:
        """How many regions of pictures there are to make."""
        return len(self.seeds) * len(self.plan.regions)

    @property
    def work(self) -> float:
        """How much there is to do: pictures times steps, those of the autoencoder included, times pixels."""
        regions = self.plan.regions
        each = sum(self._work(one, number) for region in regions for number, one in enumerate(region.passes))
        # All pictures have the same words, unless they choose among alternatives.
        return len(self.seeds) * each + self._words.reading_pixels

    def _work(self, one: Pass, number: int) -> float:
        """What a pass computes; ``number`` counts the passes of its region from 0."""
        begins_with_image = number > 0 or isinstance(self.operation, FromImage)
        autoencoder = DECODING_STEPS + (ENCODING_STEPS if begins_with_image else 0)
        forwards = max(1, len(one.tiles))
        steps = self.steps_of(one) * self._words.predictions
        changed, references = self._seen(one)
        looks = 1 if self._sees.kept else steps * forwards
        seen = looks * changed + (looks + ENCODING_STEPS) * references
        return (steps * (1 + self._followed) + autoencoder) * one.pixels + steps * forwards * FORWARD_PIXELS + seen

    @property
    def seen(self) -> int:
        """The pixels that the model sees at once beside what it draws, at most."""
        return max(sum(self._seen(one)) for region in self.plan.regions for one in region.passes)

    @property
    def _sees(self) -> SeenImages:
        return SeenImages() if self.abilities is None else self.abilities.seen

    def _seen(self, one: Pass) -> tuple[int, int]:
        """The pixels that a forward of a pass sees beside its picture: those of the changed image, of references."""
        sees, operation = self._sees, self.operation
        own = area(one.forward) if sees.changed is None else sees.changed
        changed = own if isinstance(operation, (Edit, Inpaint)) else 0
        sizes = [area(reference.image.size) for reference in operation.references] if sees.most else []
        return changed, sum(min(max(size, sees.least), sees.most) for size in sizes)

    @cached_property
    def _followed(self) -> float:
        """How much of a step's work ControlNets add on average."""
        if self.abilities is not None and "controls" not in self.abilities.capabilities:
            return 0.0
        return sum(FOLLOWING * (control.end - control.start) for control in self.operation.controls)

    @cached_property
    def _words(self) -> Words:
        return Words.of(self.operation.for_seed(self.seeds[0]))

    @property
    def finishing(self) -> float:
        """The seconds that its canvas takes beside ``work``, about."""
        return len(self.seeds) * area(self.size) * FINISHING_SECONDS

    def steps_of(self, one: Pass) -> int:
        """The denoising steps of a pass."""
        if one.strength is None:
            return self.operation.steps_run
        return max(1, int(self.operation.steps * one.strength))

    @property
    def memory(self) -> int:
        """Bytes that its images and the mask made of them take, each counted once; everything else is small."""
        images = {id(image): image for image in images_of(self.operation)}
        sent = sum(image.memory for image in images.values())
        mask = vars(self.operation).get("replaced")
        if mask is None or any(mask is vars(image).get("pixels") for image in images.values()):
            return sent
        return sent + area(mask.size)

    @property
    def memory_with_picture(self) -> int:
        """The same with one finished picture of three bytes a pixel."""
        return self.memory + 3 * area(self.size)

    @property
    def batch_key(self) -> Hashable:
        """Jobs with the same key may share forwards: model, working sizes, and every field not marked per image."""
        shared = (
            (field.name, getattr(self.operation, field.name))
            for field in fields_of(type(self.operation))
            if not field.param.per_image
        )
        return self.model, self.plan.forwards, tuple(shared)


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
