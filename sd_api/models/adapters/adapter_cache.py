"""The adapters of one kind that are loaded for one model: each file once, within the memory for them."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

import torch

from sd_api.models.component import Component
from sd_api.models.folders import FoundFile
from sd_api.models.model_sizes import DENOISERS

Adapter = TypeVar("Adapter")


class UnfitError(Exception):
    """Why a model cannot use a file, as a part of a sentence.

    Attributes:
        lasting: Whether that holds as long as the file is the same, so that it is not read again.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting


def reason_of(error: Exception) -> str:
    """What the error of a library says, as a part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def denoiser_of(components: Mapping[str, Component]) -> Component:
    """The network of a model that its adapters act on."""
    return next(components[name] for name in DENOISERS if name in components)


class AdapterCache(Generic[Adapter]):
    """Loads adapters; the least recently used leave when all of them are larger than the model's denoiser.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        components: The model's modules.
        load: Loads a file, or raises UnfitError.
        parts_of: All of an adapter, as what is placed.
        forget: Drops components that are not used any more.
        left: Hears of an adapter that leaves.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        load: Callable[[FoundFile], Adapter],
        parts_of: Callable[[Adapter], Iterable[Component]],
        forget: Callable[[Iterable[Component]], None],
        left: Callable[[Adapter], None] = lambda _: None,
    ) -> None:
        self._components = components
        self._load = load
        self._parts_of = parts_of
        self._forget = forget
        self._left = left
        # In the order of their use, the latest last.
        self._loaded: OrderedDict[FoundFile, Adapter] = OrderedDict()
        self._refused: dict[FoundFile, str] = {}

    @property
    def components(self) -> tuple[Component, ...]:
        """The parts of all that are loaded; may be called from any thread."""
        return tuple(part for adapter in list(self._loaded.values()) for part in self._parts_of(adapter))

    def get(self, file: FoundFile, beside: Collection[FoundFile] = ()) -> Adapter:
        """An adapter, loaded.

        Args:
            file: Its file.
            beside: Those that act together with it, which stay however large they are.

        Raises:
            UnfitError: The model cannot use it.
        """
        if file in self._refused:
            raise UnfitError(self._refused[file])
        if file not in self._loaded:
            try:
                # Weights that are made in inference mode could never be moved outside of it.
                with torch.inference_mode(mode=False):
                    self._loaded[file] = self._load(file)
            except UnfitError as error:
                if error.lasting:
                    self._refused[file] = str(error)
                raise
            self._make_room({file, *beside})
        self._loaded.move_to_end(file)
        return self._loaded[file]

    def clear(self) -> None:
        """Drop all that are loaded."""
        self._forget(self.components)
        self._loaded.clear()

    def _make_room(self, kept: Collection[FoundFile]) -> None:
        for file in [file for file in self._loaded if file not in kept]:
            if sum(part.size for part in self.components) <= denoiser_of(self._components).size:
                return
            adapter = self._loaded.pop(file)
            self._left(adapter)
            self._forget(self._parts_of(adapter))
