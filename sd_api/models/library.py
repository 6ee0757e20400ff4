"""Which models are loaded; each of the configuration is loaded once and kept."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
)

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.generation.engine import ModelAbilities, ModelMemory
from sd_api.generation.request import Mode
from sd_api.models import hub
from sd_api.models.architectures import INPAINTING_CHANNELS
from sd_api.models.catalog import CatalogModel, ModelCatalog, is_guest
from sd_api.models.compiled import CompiledUNet
from sd_api.models.device import DeviceChoice
from sd_api.models.loader import load_pipeline
from sd_api.models.residency import Residency, free_bytes_of, size_of
from sd_api.models.safety import OFF, SafetyFilter, fetch_safety_filter
from sd_api.models.schedulers import make_scheduler
from sd_api.settings import Settings

log = logging.getLogger(__name__)

# So many models that are not in the configuration stay loaded.
MOST_GUESTS = 2

# About 0.3 MB each for Stable Diffusion 1, 0.6 MB for SDXL.
PROMPTS_KEPT = 64

PIPELINES = {
    "txt2img": AutoPipelineForText2Image,
    "img2img": AutoPipelineForImage2Image,
    "masking": AutoPipelineForInpainting,
}


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device.

    Attributes:
        label: its name without this machine's folders, for the pictures' metadata.
        base: the pipeline that holds the weights.
        requires_safety_checker: whether a request may not switch the filter off.
        size: the bytes of its weights.
        load_seconds: how long it took to load it, its download included.
    """

    label: str
    base: DiffusionPipeline
    requires_safety_checker: bool
    size: int
    load_seconds: float

    @cached_property
    def encode_prompt(self) -> Callable[..., tuple[torch.Tensor | None, ...]]:
        """The pipeline's ``encode_prompt``, which remembers the latest prompts for as long as this model is there."""
        return lru_cache(PROMPTS_KEPT)(self.base.encode_prompt)

    @property
    def size_multiple(self) -> int:
        """Pixels: both sides of a picture must be a multiple of this."""
        return int(self.base.vae_scale_factor)

    @property
    def abilities(self) -> ModelAbilities:
        """What it was made for, as its configuration tells."""
        unet = self.base.unet.config
        side = unet.sample_size
        return ModelAbilities(
            modes=("masking",) if unet.in_channels == INPAINTING_CHANNELS else ("txt2img", "img2img", "masking"),
            size_multiple=self.size_multiple,
            native_size=side * self.size_multiple if isinstance(side, int) else None,
        )

    def pipeline(self, mode: Mode, scheduler: str | None, safety: SafetyFilter) -> Any:
        """A pipeline for one run, made of the shared weights and a scheduler of its own.

        Raises:
            OutOfLimits: the model was made for inpainting and cannot do anything else.
        """
        if mode not in self.abilities.modes:
            raise OutOfLimits("model", f"{self.label} was trained for masking only; it cannot do {mode}")
        pipeline = PIPELINES[mode].from_pipe(
            self.base,
            scheduler=make_scheduler(scheduler, self.base.scheduler),
            safety_checker=safety.safety_checker,
            feature_extractor=safety.feature_extractor,
            requires_safety_checker=safety is not OFF,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


class ModelLibrary:
    """Loads models on first use.

    Not for several threads at once: it belongs to the engine's thread.
    """

    def __init__(self, settings: Settings, device: DeviceChoice) -> None:
        self._settings = settings
        self._catalog = ModelCatalog(settings)
        self._device = device
        self._token = hub.token_of(settings)
        self._loaded: dict[str | None, LoadedModel] = {}
        self._compiled: dict[str | None, CompiledUNet] = {}
        self._fetched_filter: SafetyFilter | None = None
        self._residency = Residency(device.device, free_bytes_of(device.device))

    def get(self, name: str | None) -> LoadedModel:
        """A model, loaded and on its device.

        Args:
            name: see ``CatalogModel``; None is the main model.

        Raises:
            UnknownModel: the configuration knows no such model.
            ModelUnavailable: it cannot be loaded; the next call tries again.
        """
        if name not in self._loaded:
            self._dismiss_guests()
            model = self._load(self._catalog.named(name))
            # A model without the filter that it requires is of no use: better known now than by every request.
            self.safety_filter(model, None)
            self._loaded[name] = model
        # In the order in which they were used, the latest last.
        model = self._loaded[name] = self._loaded.pop(name)
        self._residency.use(model.base)
        if self._settings.compile and name not in self._compiled:
            self._compiled[name] = CompiledUNet(model.base, self._settings.compile_sizes)
            self._compiled[name].compile_in_background()
        return model

    def make_room_for(self, model: LoadedModel) -> bool:
        """Move all other models off the device; whether there were any."""
        return self._residency.keep_only(model.base)

    def memory(self) -> tuple[ModelMemory, ...]:
        """The models that are loaded, and where; may be called from any thread."""
        models = list(self._loaded.values())
        return tuple(
            ModelMemory(model.label, model.size, self._residency.has(model.base), model.load_seconds)
            for model in models
        )

    def abilities(self) -> dict[str | None, ModelAbilities]:
        """What the models that are loaded can do; may be called from any thread."""
        return {name: model.abilities for name, model in list(self._loaded.items())}

    def safety_filter(self, model: LoadedModel, wanted: bool | None) -> SafetyFilter:
        """The filter for one run of a model.

        Args:
            model: one that ``get`` returned.
            wanted: what the request says; None is the model's own setting.

        Raises:
            OutOfLimits: the request switches off what the model requires.
            ModelUnavailable: a filter is wanted and there is none to be had.
        """
        if model.requires_safety_checker and wanted is False:
            raise OutOfLimits(
                "safety_checker",
                f"cannot be switched off for {model.label}; its configuration says requires_safety_checker",
            )
        if not (model.requires_safety_checker if wanted is None else wanted):
            return OFF
        if "safety_checker" not in model.base.components:
            raise ModelUnavailable(
                f"{model.label} is of an architecture that has no place for the safety filter. To run it all the "
                'same, set "requires_safety_checker": false for it in the configuration.'
            )
        for candidate in (self._loaded.get(None), model):
            if candidate is not None and (own := _own_filter(candidate)) is not None:
                return own
        if self._fetched_filter is None:
            self._fetched_filter = fetch_safety_filter(self._device, self._token)
        return self._fetched_filter

    def _dismiss_guests(self) -> None:
        """Forget models that tasks have named, but for the latest: there is no end of them on the hub."""
        guests = [name for name in self._loaded if name is not None and is_guest(name)]
        for name in guests[: 1 - MOST_GUESTS]:
            self._residency.forget(self._loaded.pop(name).base)
            self._compiled.pop(name, None)

    def _load(self, model: CatalogModel) -> LoadedModel:
        shared = {} if model.name is None else self._shared_with_custom_models()
        started = time.monotonic()
        base = load_pipeline(model.source, self._device, self._token, **shared)
        seconds = time.monotonic() - started
        return LoadedModel(model.label, base, model.requires_safety_checker, size_of(base), seconds)

    def _shared_with_custom_models(self) -> dict[str, None]:
        """Custom models use the main model's filter, so their own need not be loaded."""
        try:
            main = self.get(None)
        except ModelUnavailable:
            # A custom model is no worse for the main one's trouble: it brings its own filter, if it has one.
            return {}
        return {"safety_checker": None, "feature_extractor": None} if _own_filter(main) else {}


def _own_filter(model: LoadedModel) -> SafetyFilter | None:
    parts = model.base.components
    if parts.get("safety_checker") is None:
        return None
    return SafetyFilter(parts["safety_checker"], parts["feature_extractor"])
