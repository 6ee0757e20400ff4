"""What a job will take, found without running it."""

from collections.abc import Iterator
from dataclasses import dataclass

from sd_api.generation.abilities import ModelAbilities, refuse_other_mode
from sd_api.generation.fields import fields_of
from sd_api.generation.operation import Operation
from sd_api.generation.plan import area
from sd_api.generation.spec import JobSpec
from sd_api.jobs.queue import Forecast, JobQueue, planned
from sd_api.models.catalog import CatalogModel, refuse_unfiltered
from sd_api.models.on_disk import bytes_on_disk

# Latents of most models: 4 channels of 4 bytes, for squares of 8 x 8 pixels.
LATENT_BYTES = 4 * 4 / 8**2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a job needs of memory, in bytes, as far as that is known.

    Attributes:
        images: Of the images that it begins with, as files and decoded, and of one finished picture.
        latents: Of the latents of its largest pass, about.
        model: Of the model's weights; None if no engine has loaded it.
        device: Of the device's memory, the most for one picture of the model's own size; None likewise.
        disk: Of the model's files on this machine; None if it is not downloaded.
    """

    images: int
    latents: int
    model: int | None
    device: int | None
    disk: int | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job will take.

    Attributes:
        spec: The job with its plan.
        loaded: Whether an engine has loaded the model. If not, the plan is a guess, and loading takes its own time.
        forecast: Its time.
        memory: Its memory.
        plan: How the model runs, in sentences, the first of which says what was chosen; empty if no engine has
            loaded it.
        warnings: What its answer will warn of, as far as that is known beforehand.
    """

    spec: JobSpec
    loaded: bool
    forecast: Forecast
    memory: Memory
    plan: tuple[str, ...]
    warnings: tuple[str, ...]


def estimate(queue: JobQueue, spec: JobSpec, model: CatalogModel) -> Estimate:
    """Estimate what a job would take if it was submitted now.

    Args:
        queue: The queue to which it would be submitted.
        spec: The job.
        model: Its model.

    Raises:
        OutOfLimits: The model cannot do what the job asks for.
    """
    status = queue.status()
    operation, abilities = spec.operation, status.abilities.get(model.name)
    if abilities is not None:
        refuse_other_mode(abilities, model.label, operation.name)
    refuse_unfiltered(model.label, operation.safety_filter, required=model.requires_safety_checker)
    spec = planned(spec, lambda: status.abilities)
    loaded = next((loaded for loaded in status.models if loaded.model == model.label), None)
    return Estimate(
        spec=spec,
        loaded=abilities is not None,
        forecast=queue.forecast(spec),
        memory=Memory(
            images=spec.memory + 3 * area(spec.size),
            latents=round(
                LATENT_BYTES * max(area(each.size) for region in spec.plan.regions for each in region.passes)
            ),
            model=loaded.bytes if loaded else None,
            device=loaded.peak if loaded else None,
            disk=bytes_on_disk(model.source),
        ),
        plan=loaded.reasons if loaded else (),
        warnings=(*spec.warnings, *spec.plan.warnings(), *_without_effect(operation, abilities)),
    )


def _without_effect(operation: Operation, abilities: ModelAbilities | None) -> Iterator[str]:
    """Sentences about fields that need what the model does not have."""
    if abilities is None:
        return
    for field in fields_of(type(operation)):
        missing = field.param.requires not in (None, *abilities.capabilities)
        if missing and getattr(operation, field.name) != field.default:
            yield f"{field.name}: this model has no use for it, so it is not used."
