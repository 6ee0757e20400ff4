"""The IP-Adapters of one model (arXiv:2308.06721): attention to images beside that to words, for the rows that ask.

The model itself is never changed. What attends to images is in copies of its denoiser that share its weights, and what
an adapter makes of an image is cached by the image's content.
"""

import hashlib
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.generation.references import Reference
from sd_api.models.adapters.active_references import ActiveReference, Tokens
from sd_api.models.adapters.adapter_cache import AdapterCache, UnfitError, denoiser_of, reason_of
from sd_api.models.adapters.image_encoder_files import encoder_for
from sd_api.models.adapters.image_encoders import ImageEncoder, load_encoder
from sd_api.models.adapters.ip_adapter_files import AdapterHeader, header_of, list_adapters, plain_names, read_adapter
from sd_api.models.adapters.ip_adapter_hosts import AdapterHosts
from sd_api.models.adapters.ip_adapter_layers import Adapter, make_adapter, transformer_name, width_of
from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.component import Component
from sd_api.models.folders import IP_ADAPTER, FoundFile, ModelFolders, listed
from sd_api.models.memory import is_out_of_memory
from sd_api.models.state_dict import WeightFile

log = logging.getLogger(__name__)


class IPAdapters:
    """The adapters of one model.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        components: The model's modules.
        device: Where they run.
        place: Has components on the device.
        forget: Drops components that are not used any more.
        folders: Where the files are.
        cached: See ``Parts.cached``.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        device: torch.device,
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None],
        folders: ModelFolders,
        cached: Callable[[str, Any, Callable[[], Tokens]], Tokens],
    ) -> None:
        self._components = components
        self._place = place
        self._folders = folders
        self._cached = cached
        self._hosts = AdapterHosts(device, forget)
        self._cache = AdapterCache(
            components, self._load, lambda adapter: adapter.parts, forget, lambda _: self._hosts.clear()
        )
        self._encoders: dict[Path, ImageEncoder] = {}

    @property
    def components(self) -> tuple[Component, ...]:
        """All that is loaded; may be called from any thread."""
        return *self._cache.components, *(encoder.component for encoder in list(self._encoders.values()))

    def see(self, references: Sequence[Reference], *, guided: bool) -> tuple[ActiveReference, ...]:
        """What a request's references are to the model; neighbours that differ in their image alone act as one.

        Args:
            references: Of the request.
            guided: Whether there is classifier-free guidance.

        Raises:
            OutOfLimits: An adapter or its image encoder is not there, damaged, or made for another architecture; or
                there are more images than it sees.
        """
        files = [self._find(number, reference.adapter) for number, reference in enumerate(references)]
        if len(files) > 1 and self._cache.get(files[0]).seeing is None:
            made_for = self._cache.get(files[0]).header.architecture
            raise OutOfLimits("references", f"has {len(files)} images; an IP-Adapter for {made_for} sees one")
        several = groupby(
            zip(files, references, strict=True), lambda pair: (pair[0], pair[1].weight, pair[1].start, pair[1].end)
        )
        return tuple(
            ActiveReference(*key, self._tokens(key[0], [each.image.pixels for _, each in pairs], guided=guided))
            for key, pairs in several
        )

    def applied(
        self,
        running: Callable[[Iterable[Component]], Any],
        references: Sequence[ActiveReference],
        acting: Hashable,
    ) -> Any:
        """What runs in place of the denoiser, with the attention of some adapters; it takes their tokens beside words.

        Args:
            running: Gives what runs without them, on the device, together with further components.
            references: What acts.
            acting: What acts in that beside them, such as LoRAs.
        """
        if not references:
            return running([])
        files = [reference.file for reference in references]
        adapters = [self._cache.get(file, files) for file in files]
        weights = [reference.weight for reference in references]
        return self._hosts.host(self._denoiser, adapters, weights, running, acting)

    @property
    def _denoiser(self) -> Component:
        return denoiser_of(self._components)

    def _find(self, number: int, name: str | None) -> FoundFile:
        field = f"references.{number}.adapter"
        files = list_adapters(self._folders)
        if name is None:
            fitting = (file for file in files if self._why_unfit(file) is None)
            if (file := next(fitting, None)) is None:
                raise OutOfLimits(field, "is missing, and this server has no IP-Adapter for this model")
            return file
        found = self._folders.find(IP_ADAPTER, name)
        if found not in files:
            there = f"there are: {listed([other.name for other in files])}" if files else "this server has none"
            raise OutOfLimits(field, f"is {name[:100]!r}; {there}")
        if (reason := self._why_unfit(found)) is not None:
            raise OutOfLimits(field, f"is {name[:100]!r}, {reason}")
        return found

    def _why_unfit(self, file: FoundFile) -> str | None:
        try:
            self._cache.get(file)
        except UnfitError as error:
            return str(error)
        return None

    def _tokens(self, file: FoundFile, images: list[Image.Image], *, guided: bool) -> Tokens:
        contents = tuple((image.size, hashlib.sha256(image.tobytes()).digest()) for image in images)
        return self._cached("references", (file, contents, guided), lambda: self._see(file, images, guided=guided))

    def _see(self, file: FoundFile, images: list[Image.Image], *, guided: bool) -> Tokens:
        adapter = self._cache.get(file)
        encoder = self._encoders[adapter.encoder]
        self._place([encoder.component] if adapter.seeing is None else [encoder.component, adapter.seeing])
        return adapter.tokens(encoder, images, guided=guided)

    def _load(self, file: FoundFile) -> Adapter:
        try:
            if file.path.suffix == ".safetensors":
                # Before anything of another architecture is read.
                self._refuse_other_architecture(read_adapter(file))
            found = WeightFile(file.path).tensors()
            header = header_of({name: tuple(tensor.shape) for name, tensor in found.items()})
        except ValueError as error:
            raise UnfitError(f"whose file {error}") from None
        except (FileFaultError, ModelUnavailable) as error:
            problem = str(error).removeprefix(f"{file.path}: ")
            raise UnfitError(f"whose file cannot be used: {problem}") from None
        self._refuse_other_architecture(header)
        encoder = self._encoder(header, file)
        log.info("Loading the IP-Adapter %s", file.name)
        tensors = {plain: found[name] for name, plain in plain_names(found).items()}
        try:
            return make_adapter(file.name, header, tensors, self._denoiser, encoder)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("The IP-Adapter %s cannot be loaded", file.path, exc_info=True)
            raise UnfitError(f"which this model cannot use: {reason_of(error)}") from None

    def _refuse_other_architecture(self, header: AdapterHeader) -> None:
        transformer, width = transformer_name(self._denoiser), width_of(self._denoiser)
        if (header.transformer, header.width) == (transformer, width):
            return
        made_for, own = header.architecture, transformer or architecture_of(width)
        if header.transformer == transformer is not None:
            made_for, own = f"{made_for} with layers of {header.width}", f"{own} with layers of {width}"
        raise UnfitError(f"which was made for {made_for}; this model is {own}")

    def _encoder(self, header: AdapterHeader, file: FoundFile) -> Path:
        folder = encoder_for(header, file, self._folders)
        if folder is None:
            size = f"{'an embedding' if header.whole else 'hidden states'} of {header.sees}"
            problem = f"is missing: put the folder image_encoder of {header.encoder} that gives {size} beside its file"
            # Which may come.
            raise UnfitError(f"whose image encoder {problem}", lasting=False)
        if folder not in self._encoders:
            try:
                self._encoders[folder] = load_encoder(folder, header.encoder, self._denoiser.dtype)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # The libraries fail in as many ways as there are files.
                log.warning("The image encoder %s cannot be loaded", folder, exc_info=True)
                # Without the folders of this machine.
                reason = reason_of(error).replace(str(folder), folder.name)
                raise UnfitError(f"whose image encoder cannot be used: {reason}", lasting=False) from None
        return folder
