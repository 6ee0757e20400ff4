"""The ControlNets and T2I adapters that are loaded for one model; they run beside it and change nothing of it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from diffusers import T2IAdapter

from sd_api.errors import OutOfLimits, ServerError
from sd_api.generation.controls import Control
from sd_api.imaging.controls import KINDS
from sd_api.models.adapters.adapter_cache import AdapterCache, UnfitError, denoiser_of
from sd_api.models.adapters.control_files import OF_TRANSFORMERS, ControlHeader, find_control, read_control
from sd_api.models.adapters.control_loading import load_control
from sd_api.models.adapters.control_transformers import transformer_of
from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.component import Component
from sd_api.models.folders import CONTROLNET, FoundFile, ModelFolders, listed
from sd_api.models.memory import is_out_of_memory

log = logging.getLogger(__name__)

# What has to be the same in a model and in its ControlNet, as far as both have it; without a text encoder of its own,
# a ControlNet has no width of its words.
_OF_UNETS = ("cross_attention_dim", "layers_per_block", "block_out_channels")
_OF_TRANSFORMERS = (
    *("in_channels", "attention_head_dim", "num_attention_heads"),
    *("joint_attention_dim", "pooled_projection_dim", "dim", "n_heads"),
)

# What union models for FLUX.1 were trained with, by their numbers.
_FLUX_KINDS: Mapping[str, int] = {
    "canny": 0,
    "tile": 1,
    "depth": 2,
    "blur": 3,
    "openpose": 4,
    "gray": 5,
    "low_quality": 6,
}


class ControlNets:
    """Those of one model.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        components: The model's modules.
        place: Has components on the device.
        forget: Drops components that are not used any more.
        folders: Where the files are.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None],
        folders: ModelFolders,
    ) -> None:
        self._components = components
        self._place = place
        self._folders = folders
        self._cache = AdapterCache(components, self._load, lambda component: [component], forget)

    @property
    def components(self) -> tuple[Component, ...]:
        """Those that are loaded; may be called from any thread."""
        return self._cache.components

    def find(self, asked: Sequence[Control]) -> tuple[FoundFile, ...]:
        """What a request asks for, loaded, in its order.

        Raises:
            OutOfLimits: There is no such file, it is damaged, or it was made for another architecture.
        """
        found: list[FoundFile] = []
        for number, control in enumerate(asked, start=1):
            try:
                file = self._file(control.model)
                self._refuse_kind(control, self._cache.get(file, found))
            except UnfitError as error:
                problem = f"names in entry {number} {control.model[:100]!r}; {error}"
                raise OutOfLimits("controls", problem) from None
            found.append(file)
        return tuple(found)

    def placed(self, files: Sequence[FoundFile], others: Sequence[Component] = ()) -> tuple[Component, ...]:
        """Some of them on the device together, with other components."""
        components = tuple(self._cache.get(file, files) for file in files)
        self._place([*others, *dict.fromkeys(components)])
        return components

    def _file(self, name: str) -> FoundFile:
        if (file := find_control(self._folders, name)) is not None:
            return file
        names = [other.name for other in self._folders.files(CONTROLNET)]
        raise UnfitError(f"there are: {listed(names)}" if names else "this server has none")

    def _load(self, file: FoundFile) -> Component:
        header, denoiser = read_control(file), self._denoiser
        try:
            if header.problem is not None:
                raise UnfitError(header.problem)
            self._refuse_architecture(header)
            log.info("Loading the %s %s", header.kind or "control", file.name)
            module = load_control(file, header, denoiser.module, denoiser.dtype)
            self._refuse_other_blocks(module)
        except UnfitError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("%s cannot be loaded", file.path, exc_info=True)
            reason = error.message if isinstance(error, ServerError) else type(error).__name__
            problem = f"it cannot be loaded: {reason.removeprefix(str(file.path))[:200]}"
            # Pickled weights that were refused would take as long again.
            raise UnfitError(problem, lasting=isinstance(error, ServerError)) from None
        component = Component(f"control {file.name}", module)
        component.working = denoiser.working
        return component

    @property
    def _denoiser(self) -> Component:
        return denoiser_of(self._components)

    def _refuse_architecture(self, header: ControlHeader) -> None:
        config = self._denoiser.config
        width = config.get("cross_attention_dim")
        of_unet = architecture_of(width) if width in (768, 1024, 2048) else None
        own = next((name for name in OF_TRANSFORMERS if transformer_of(name) is type(self._denoiser.module)), None)
        if own is None and header.class_name not in OF_TRANSFORMERS:
            fits = header.width is None or of_unet is None or architecture_of(header.width) == of_unet
        else:
            fits = header.class_name in (None, own)
        if not fits:
            made_for = header.architecture or "a model with a UNet"
            this = OF_TRANSFORMERS[own] if own else of_unet or "another"
            raise UnfitError(f"it was made for {made_for}; this model is {this}")

    def _refuse_other_blocks(self, module: Any) -> None:
        model, own = self._denoiser.config, module.config
        if isinstance(module, T2IAdapter):
            return
        alike = _OF_TRANSFORMERS if type(module).__name__ in OF_TRANSFORMERS else _OF_UNETS
        pairs = [(model[name], own[name]) for name in alike if own.get(name) is not None and name in model]
        if any(_plain(one) != _plain(other) for one, other in pairs):
            raise UnfitError("it was made for a model with other layers")

    @staticmethod
    def _refuse_kind(control: Control, component: Component) -> None:
        """A union model has to know what the map shows."""
        kinds = kind_numbers(component.config)
        if kinds and control.shown not in kinds:
            raise UnfitError(f"it has to know what the map shows; kind must be one of {', '.join(kinds)}")


def kind_numbers(config: Any) -> Mapping[str, int]:
    """The numbers of the kinds of maps that a union model knows; empty for models of one kind.

    Args:
        config: Of the ControlNet.
    """
    if (known := config.get("num_control_type")) is not None:
        return {kind: number for number, kind in enumerate(KINDS[:known])}
    if (known := config.get("num_mode")) is not None:
        return {kind: number for kind, number in _FLUX_KINDS.items() if number < known}
    return {}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def expected_shapes(unet: Any, cells: tuple[int, int]) -> list[tuple[int, int, int]]:
    """The channels, heights and widths at which a UNet takes what T2I adapters add, one for each block and its middle.

    Args:
        unet: Its configuration.
        cells: Width and height of the latents.
    """
    width, height = cells
    shapes = []
    for number, (kind, channels) in enumerate(zip(unet.down_block_types, unet.block_out_channels, strict=True)):
        inside = channels, height, width
        if number + 1 < len(unet.block_out_channels):
            width, height = ceil(width / 2), ceil(height / 2)
        # A block with attention adds before its last layer, which makes its output smaller; others behind it.
        shapes.append(inside if "CrossAttn" in kind else (channels, height, width))
    return [*shapes, (unet.block_out_channels[-1], height, width)]
