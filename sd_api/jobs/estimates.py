"""What a job will take, found without running it."""

from dataclasses import dataclass

from sd_api.generation.abilities import MEGAPIXEL, refuse_other_mode, without_effect
from sd_api.generation.engine import ModelMemory, PlannedModel
from sd_api.generation.plan import area
from sd_api.generation.spec import JobSpec
from sd_api.jobs.queue import Forecast, JobQueue, planned
from sd_api.models.adapters.control_files import find_control
from sd_api.models.adapters.hub_loras import loras_here
from sd_api.models.catalog import refuse_unfiltered
from sd_api.models.folders import IP_ADAPTER, ModelFolders
from sd_api.models.on_disk import bytes_on_disk
from sd_api.models.prompt_chunks import refuse_too_long
from sd_api.models.providers import CatalogModel

# Latents of most models: 4 channels of 4 bytes, for squares of 8 x 8 pixels.
LATENT_BYTES = 4 * 4 / 8**2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a job needs of memory, in bytes, as far as that is known.

    Attributes:
        images: Of the images that it begins with, as files and decoded, and of one finished picture.
        latents: Of the latents of its largest pass, about.
        model: Of the model's weights; None if no engine knows it: it is not loaded, and its files are not where
            the engine is, or it is not in the configuration.
        device: Of the device's memory, the most for one picture of the model's own size with the images that the job
            has the model see, and of the files of its ControlNets, IP-Adapters and LoRAs; None likewise.
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
        plan: How the model runs or would run, in sentences, the first of which says what was chosen; empty where
            ``memory.model`` is None.
        warnings: What its answer will warn of, as far as that is known beforehand.
    """

    spec: JobSpec
    loaded: bool
    forecast: Forecast
    memory: Memory
    plan: tuple[str, ...]
    warnings: tuple[str, ...]


def _more_seen(known: ModelMemory | PlannedModel, spec: JobSpec) -> int:
    """What the images take that the model sees beyond those for which it is planned."""
    return round(known.more_seen * max(0, spec.seen - known.seen) / MEGAPIXEL)


def _added(spec: JobSpec, folders: ModelFolders) -> int:
    """The files of what runs beside the model: its ControlNets and T2I adapters, its IP-Adapters and its LoRAs."""
    operation = spec.operation
    found = {find_control(folders, control.model) for control in operation.controls}
    found |= set(loras_here(folders, operation).values())
    found |= {folders.find(IP_ADAPTER, reference.adapter) for reference in operation.references if reference.adapter}
    return sum(file.size for file in found if file is not None)


def estimate(queue: JobQueue, spec: JobSpec, model: CatalogModel, folders: ModelFolders) -> Estimate:
    """Estimate what a job would take if it was submitted now.

    Args:
        queue: The queue to which it would be submitted.
        spec: The job.
        model: Its model.
        folders: Where the files are that it may name.

    Raises:
        OutOfLimits: The model cannot do what the job asks for, or a prompt is too long for it.
    """
    status = queue.status()
    abilities = status.abilities.get(model.name)
    operation = spec.for_model(abilities).operation
    if abilities is not None:
        refuse_other_mode(abilities, model.label, operation.name)
    refuse_unfiltered(model.label, operation.safety_filter, required=model.requires_safety_checker)
    chosen = {(each.prompt, each.negative_prompt): each for each in map(operation.for_seed, spec.seeds)}
    for each in chosen.values():
        refuse_too_long(each, model.source, folders)
    in_vain = () if abilities is None else without_effect(abilities, operation)
    spec = planned(spec, lambda: status.abilities)
    # How it runs, or would run: a model that is not loaded is known by the headers of its files.
    runs: tuple[ModelMemory | PlannedModel, ...] = (*status.models, *status.planned)
    known = next((each for each in runs if each.model == model.label), None)
    return Estimate(
        spec=spec,
        loaded=abilities is not None,
        forecast=queue.forecast(spec, status.flops),
        memory=Memory(
            images=spec.memory_with_picture,
            latents=round(
                LATENT_BYTES * max(area(each.size) for region in spec.plan.regions for each in region.passes)
            ),
            model=known.bytes if known else None,
            device=None
            if known is None or known.peak is None
            else known.peak + _more_seen(known, spec) + _added(spec, folders),
            disk=bytes_on_disk(model.source),
        ),
        plan=known.reasons if known else (),
        warnings=(*spec.warnings, *spec.plan.warnings(), *in_vain),
    )
