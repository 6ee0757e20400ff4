"""Autoencoders by name, which take the place of a model's own for the pictures that ask for them."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakSet

import torch

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.models.component import Component
from sd_api.models.folders import VAE, FoundFile, ModelFolders, missing
from sd_api.models.part_loading import prepare_half
from sd_api.models.precision import Precision
from sd_api.models.separate_parts import autoencoder_of_file, autoencoder_of_folder, refuse_other_latents

log = logging.getLogger(__name__)

# Those that were used last stay in memory: one is a tenth of a model.
MAX_KEPT = 2


class Autoencoders:
    """The autoencoders that one model may use beside its own.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        own: The model's own.
        device: Where they run.
        forget: Drops components that are not used any more.
        folders: Where the files are.
    """

    def __init__(
        self,
        own: Component,
        device: torch.device,
        forget: Callable[[Iterable[Component]], None],
        folders: ModelFolders,
    ) -> None:
        self._own = own
        self._device = device
        self._forget = forget
        self._folders = folders
        self._loaded: OrderedDict[FoundFile, Component] = OrderedDict()
        self._refused: dict[FoundFile, str] = {}
        # A picture that is being made may still use one of these.
        self._left: WeakSet[Component] = WeakSet()

    @property
    def components(self) -> tuple[Component, ...]:
        """Those that are loaded; may be called from any thread."""
        return tuple(self._loaded.values())

    def named(self, name: str) -> tuple[FoundFile, Component]:
        """The autoencoder of a name, loaded, with its file.

        Raises:
            OutOfLimits: There is none, its file is damaged, or it was made for another architecture.
        """
        file = self._folders.find(VAE, name)
        if file is None:
            raise OutOfLimits("vae", f"is {name[:100]!r}{missing(self._folders, VAE)}")
        if file in self._refused:
            raise OutOfLimits("vae", self._refused[file])
        if file not in self._loaded:
            try:
                # Weights that are made in inference mode could never be moved outside of it.
                with torch.inference_mode(mode=False):
                    self._loaded[file] = self._load(file)
            except ModelUnavailable as error:
                reason = error.message.replace(str(file.path), "its file").removeprefix("vae: ")
                self._refused[file] = f"is {file.name!r}, which this model cannot use: {reason}"
                raise OutOfLimits("vae", self._refused[file]) from None
            self._make_room()
        self._loaded.move_to_end(file)
        return file, self._loaded[file]

    def _load(self, file: FoundFile) -> Component:
        log.info("Loading the VAE %s", file.name)
        own: Any = self._own.module
        precision = Precision(self._own.dtype)
        if file.path.is_dir():
            vae = autoencoder_of_folder(file.path, precision)
        else:
            with TemporaryDirectory() as folder:
                # The shape is that of the model's own.
                own.save_config(Path(folder) / "vae")
                vae = autoencoder_of_file(file.path, Path(folder), ("diffusers", type(own).__name__), precision)
        refuse_other_latents(own, vae)
        if precision.half:
            prepare_half(vae, self._device, convolutional=True)
        component = Component(f"vae {file.name}", vae)
        component.working = self._own.working
        return component

    def _make_room(self) -> None:
        while len(self._loaded) > MAX_KEPT:
            self._left.add(self._loaded.popitem(last=False)[1])
        self._forget(list(self._left))
