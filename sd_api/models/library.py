"""Which models are loaded; each of the configuration is loaded once and kept."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sd_api.errors import ModelUnavailable
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.engine import ModelMemory, PlannedModel
from sd_api.models import hub
from sd_api.models.adapters.hub_loras import HubLoras
from sd_api.models.backends.compiled import CompiledUNet, compile_blocks
from sd_api.models.catalog import ModelCatalog, is_unlisted, refuse_unfiltered
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.defaults import configured_defaults, published_defaults
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice
from sd_api.models.families.base import Family
from sd_api.models.families.registry import family_of
from sd_api.models.families.unet import UNetFamily
from sd_api.models.files import find_faults
from sd_api.models.folders import ModelFolders
from sd_api.models.loader import base_folder, load_pipeline, local_directory, refuse
from sd_api.models.memory_values import MemoryPlan
from sd_api.models.placement import Placement, free_bytes_of
from sd_api.models.planned import in_own_precision, on_this_machine, plan_for
from sd_api.models.providers import CatalogModel
from sd_api.models.safety import SafetyFilter, fetch_safety_filter, take_safety_filter
from sd_api.models.separate_parts import fetch_separate
from sd_api.models.sources import ModelDirectory, ModelFile
from sd_api.models.weight_formats import format_of
from sd_api.settings import Settings

log = logging.getLogger(__name__)

# The number of models outside of the configuration that stay loaded.
MAX_UNLISTED_MODELS = 2


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory.

    Attributes:
        label: Its name without this machine's folders, for the pictures' metadata.
        family: Its architecture.
        parts: Its components.
        own_filter: The safety filter that it came with, or None.
        requires_safety_checker: Whether a request may not switch the filter off.
        load_seconds: How long loading took, its download included.
        defaults: The values of fields where a request names none, as its files and the configuration say.
        plan: How it runs here.
    """

    label: str
    family: Family
    parts: Parts
    own_filter: SafetyFilter | None
    requires_safety_checker: bool
    load_seconds: float
    defaults: Mapping[str, Any]
    plan: MemoryPlan

    @cached_property
    def abilities(self) -> ModelAbilities:
        """What it was made for."""
        abilities = self.family.abilities(self.parts)
        return replace(abilities, defaults={**abilities.defaults, **self.defaults})


class ModelLibrary:
    """Loads models on first use.

    Not for several threads at once: it belongs to the engine's thread.
    """

    def __init__(self, settings: Settings, device: DeviceChoice) -> None:
        self._settings = settings
        self._catalog = ModelCatalog(settings)
        self._folders = ModelFolders.of(settings)
        self._hub = HubLoras(settings)
        self._device = device
        self._token = hub.token_of(settings)
        self._loaded: OrderedDict[str | None, LoadedModel] = OrderedDict()
        self._plans: dict[str | None, MemoryPlan] = {}
        self._fetched_filter: SafetyFilter | None = None
        self._placement = Placement(device.device, free_bytes_of(device.device))

    def get(self, name: str | None) -> LoadedModel:
        """A model; its components go to the device when they are used.

        Args:
            name: See ``CatalogModel``; None is the main model.

        Raises:
            UnknownModel: The configuration knows no such model.
            ModelUnavailable: It cannot be loaded; the next call tries again.
        """
        if name not in self._loaded:
            self._unload_unlisted()
            model = self._load(self._catalog.named(name))
            # A model without the filter that it requires is of no use: better known now than by every request.
            try:
                # Every thread asks for these once the model is listed.
                model.abilities  # noqa: B018
                self.safety_filter(model, None)
            except BaseException:
                self._placement.forget(model.parts.everything)
                raise
            self._loaded[name] = model
            if model.plan.compiles and isinstance(model.family, UNetFamily):
                CompiledUNet(model.parts, self._settings.compile_sizes).compile_in_background()
            elif model.plan.compiles and self._device.device.type != "cpu":
                compile_blocks(model.parts.denoiser.module)
        # In the order of their use, the latest last.
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def place(self, components: Iterable[Component]) -> None:
        """Have components on the device together, for example those of a safety filter."""
        self._placement.use(components)

    def make_room(self) -> bool:
        """Move off the device what was not placed last, else give up what only saves time; whether there was any."""
        if self._placement.make_room():
            return True
        return any(model.parts.loras.merged.give_up() for model in self._loaded.values())

    def slow_down(self) -> bool:
        """Stream the layers of what was placed last, where alone it leaves too little room; whether that is new."""
        return self._placement.slow_down()

    def run_as_planned(self) -> None:
        """Take back what ``make_room`` and ``slow_down`` made slower, for jobs to come."""
        self._placement.run_as_planned()
        for model in self._loaded.values():
            model.parts.loras.merged.resume()

    def memory(self) -> tuple[ModelMemory, ...]:
        """The models that are loaded, and where; may be called from any thread."""
        return tuple(
            ModelMemory(
                model.label,
                model.parts.size,
                self._placement.has(model.parts.denoiser),
                model.load_seconds,
                model.plan.summary,
                model.plan.reasons,
                model.plan.peak,
                model.plan.seen,
                model.plan.more_seen,
            )
            for model in list(self._loaded.values())
        )

    def plan_ahead(self) -> None:
        """Find out how the models of the configuration will run whose files are on this machine."""
        for name in [None, *(custom.url_path for custom in self._settings.custom_models)]:
            try:
                plan = self._planned_ahead(self._catalog.named(name))
            except ModelUnavailable:
                # The first request for it says why.
                continue
            except Exception:
                log.exception("How %s will run is not known yet", name or "the main model")
                continue
            if plan is not None:
                self._plans[name] = plan

    def _planned_ahead(self, model: CatalogModel) -> MemoryPlan | None:
        files = on_this_machine(model.source, model.settings, self._device)
        if isinstance(files, list):
            return None
        if isinstance(files.model, ModelFile) and format_of(files.model.path) == "pickle":
            # It has no header, and is converted once it is needed.
            return None
        return plan_for(files.model, model.settings, self._settings, self._device, files.base)

    def planned(self) -> tuple[PlannedModel, ...]:
        """How the models will run that are not loaded; may be called from any thread."""
        return tuple(
            PlannedModel(
                model=self._catalog.named(name).label,
                bytes=sum(plan.weights.values()),
                peak=plan.peak,
                seen=plan.seen,
                more_seen=plan.more_seen,
                reasons=plan.reasons,
            )
            for name, plan in list(self._plans.items())
            if name not in self._loaded
        )

    def flops(self) -> dict[str | None, float]:
        """What the models compute for each pixel, as far as their files are here; may be called from any thread."""
        loaded = {name: model.plan for name, model in list(self._loaded.items())}
        return {name: plan.flops for name, plan in (self._plans | loaded).items()}

    def abilities(self) -> dict[str | None, ModelAbilities]:
        """What the models that are loaded can do; may be called from any thread."""
        return {name: model.abilities for name, model in list(self._loaded.items())}

    def safety_filter(self, model: LoadedModel, wanted: bool | None) -> SafetyFilter | None:
        """The filter for the pictures of one job; None where they are not filtered.

        Args:
            model: one that ``get`` returned.
            wanted: what the request says; None is the model's own setting.

        Raises:
            OutOfLimits: the request switches off what the model requires.
            ModelUnavailable: a filter is wanted and there is none to be had.
        """
        refuse_unfiltered(model.label, wanted, required=model.requires_safety_checker)
        if not (model.requires_safety_checker if wanted is None else wanted):
            return None
        main = self._loaded.get(None)
        if (own := (main and main.own_filter) or model.own_filter) is not None:
            return own
        if self._fetched_filter is None:
            self._fetched_filter = fetch_safety_filter(self._device, self._token, self._settings.limits)
        return self._fetched_filter

    def _unload_unlisted(self) -> None:
        """Unload the models outside of the configuration, apart from the latest: tasks could name any number."""
        unlisted = [name for name in self._loaded if name is not None and is_unlisted(name)]
        for name in unlisted[: 1 - MAX_UNLISTED_MODELS]:
            self._placement.forget(self._loaded.pop(name).parts.everything)

    def _load(self, model: CatalogModel) -> LoadedModel:
        shared = {} if model.name is None else self._shared_with_custom_models()
        started = time.monotonic()
        plan = self._plan(model)
        device = replace(self._device, dtype=plan.dtype)
        limits = self._settings.limits
        pipeline = load_pipeline(model.source, device, self._token, limits, model.settings, plan, **shared)
        own_filter = take_safety_filter(pipeline)
        parts = Parts(
            pipeline, self._device.device, self._placement.use, self._placement.forget, self._folders, self._hub
        )
        family = family_of(pipeline)
        self._placement.follow(plan, parts)
        self._placement.use([parts.denoiser])
        seconds = time.monotonic() - started
        # What a name says of others, their families know.
        defaults: dict[str, Any] = published_defaults(model.source) if isinstance(family, UNetFamily) else {}
        defaults |= configured_defaults(model.settings)
        return LoadedModel(
            model.label, family, parts, own_filter, model.requires_safety_checker, seconds, defaults, plan
        )

    def _plan(self, model: CatalogModel) -> MemoryPlan:
        """How a model will run, which is said before anything of it is loaded; it is downloaded first."""
        source, limits = model.source, self._settings.limits
        half = in_own_precision(self._device, model.settings).torch_dtype in HALF_PRECISIONS
        base = None
        if isinstance(source, ModelFile):
            refuse(find_faults(source))
            base = base_folder(model.settings, self._token, limits, half=half)
        else:
            source = ModelDirectory(local_directory(source, self._token, limits, half=half))
            refuse(find_faults(source))
        fetch_separate(model.settings, self._token, limits, half=half)
        plan = plan_for(source, model.settings, self._settings, self._device, base)
        log.info("%s on %s: %s", model.label, self._device.device, "; ".join(plan.reasons))
        if not plan.fits:
            log.warning("%s may run out of memory: no way of running it fits this machine", model.label)
        return plan

    def _shared_with_custom_models(self) -> dict[str, None]:
        """Custom models use the main model's filter, so their own need not be loaded."""
        try:
            main = self.get(None)
        except ModelUnavailable:
            # A custom model is no worse for the main one's trouble: it brings its own filter, if it has one.
            return {}
        return {"safety_checker": None, "feature_extractor": None} if main.own_filter else {}
