"""The IP-Adapters of one model (arXiv:2308.06721): attention to images beside that to words, for the rows that ask.

The model itself is never changed. What attends to images is in copies of its UNet that share its weights, and what an
adapter makes of an image is cached by the image's content.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from PIL import Image

from sd_api.errors import ModelUnavailable, OutOfLimits, OutOfMemory
from sd_api.generation.references import Reference
from sd_api.models.adapters.active_references import ActiveReference, Tokens
from sd_api.models.adapters.adapter_cache import AdapterCache, UnfitError, reason_of
from sd_api.models.adapters.image_encoders import ImageEncoder, load_encoder
from sd_api.models.adapters.ip_adapter_files import (
    ATTENTION,
    IMAGE,
    AdapterHeader,
    encoder_for,
    header_of,
    list_adapters,
    read_adapter,
)
from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.component import Component
from sd_api.models.folders import IP_ADAPTER, FoundFile, ModelFolders, listed
from sd_api.models.memory import is_out_of_memory
from sd_api.models.sharing import follow, shared_copy
from sd_api.models.state_dict import WeightFile

log = logging.getLogger(__name__)

# Copies of a UNet without weights of their own: one for each set of adapters that act together.
_MOST_HOSTS = 4


@dataclass(frozen=True, eq=False)
class _Adapter:
    """A loaded adapter.

    Attributes:
        header: What it is.
        attention: The processor of each layer that attends to words, by its name in the UNet.
        projection: What makes tokens of what the encoder sees.
        part: All of it, as what is placed.
        encoder: The folder of its image encoder.
    """

    header: AdapterHeader
    attention: Mapping[str, Any]
    projection: Any
    part: Component
    encoder: Path


class IPAdapters:
    """The adapters of one model.

    Not for several threads at once: it belongs to the engine's thread.

    Args:
        components: The model's modules.
        place: Has components on the device.
        forget: Drops components that are not used any more.
        folders: Where the files are.
        cached: See ``Parts.cached``.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        place: Callable[[Iterable[Component]], None],
        forget: Callable[[Iterable[Component]], None],
        folders: ModelFolders,
        cached: Callable[[str, Any, Callable[[], Tokens]], Tokens],
    ) -> None:
        self._components = components
        self._place = place
        self._folders = folders
        self._cached = cached
        # By the module that they are copies of, with which they leave: it may be one with LoRAs in its weights.
        self._hosts: WeakKeyDictionary[Any, OrderedDict[Any, Any]] = WeakKeyDictionary()
        self._cache = AdapterCache(
            components, self._load, lambda adapter: [adapter.part], forget, lambda _: self._hosts.clear()
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
            OutOfLimits: An adapter or its image encoder is not there, damaged, or made for another architecture.
        """
        files = [self._find(number, reference.adapter) for number, reference in enumerate(references)]
        several = groupby(
            zip(files, references, strict=True), lambda pair: (pair[0], pair[1].weight, pair[1].start, pair[1].end)
        )
        return tuple(
            ActiveReference(*key, self._tokens(key[0], [each.image.pixels for _, each in pairs], guided=guided))
            for key, pairs in several
        )

    def applied(
        self, running: Callable[[Iterable[Component]], Any], references: Sequence[ActiveReference], acting: Any
    ) -> Any:
        """What runs in place of the UNet, with the attention of some adapters; it takes their tokens with the words.

        Args:
            running: Gives what runs without them, on the device, together with further components.
            references: What acts.
            acting: What acts in that beside them, such as LoRAs: something to be compared.
        """
        files = [reference.file for reference in references]
        adapters = [self._cache.get(file, files) for file in files]
        found = running([adapter.part for adapter in adapters])
        if not references:
            return found
        module = found.module if isinstance(found, Component) else found
        if adapters[0].part.device != next(module.parameters()).device:
            raise OutOfMemory("An IP-Adapter needs the whole model on the device.")
        hosts = self._hosts.setdefault(module, OrderedDict())
        key = acting, tuple(map(id, adapters))
        if key not in hosts:
            hosts[key] = _host(module, adapters)
            while len(hosts) > _MOST_HOSTS:
                hosts.popitem(last=False)
        hosts.move_to_end(key)
        host = hosts[key]
        device = adapters[0].part.device
        follow(host, device)
        for name in adapters[0].attention:
            host.get_submodule(name).scale[:] = [reference.weight for reference in references]
        return host

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
        self._place([encoder.component, adapter.part])
        seen, unseen = encoder.see(images, whole=adapter.header.whole)
        # Together, as in diffusers' pipelines: the place in a batch decides the last bit.
        several = torch.stack([unseen, seen] if guided else [seen])
        tokens = adapter.projection(several.flatten(0, 1).to(self._components["unet"].dtype))
        *negative, positive = tokens.reshape(len(several), 1, len(images), *tokens.shape[1:])
        return Tokens(positive, negative[0] if negative else None)

    def _load(self, file: FoundFile) -> _Adapter:
        unet = self._components["unet"]
        try:
            if file.path.suffix == ".safetensors":
                # Before anything of another architecture is read.
                self._refuse_other_architecture(read_adapter(file))
            tensors = WeightFile(file.path).tensors()
            header = header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        except ValueError as error:
            raise UnfitError(f"whose file {error}") from None
        except (FileFaultError, ModelUnavailable) as error:
            problem = str(error).removeprefix(f"{file.path}: ")
            raise UnfitError(f"whose file cannot be used: {problem}") from None
        self._refuse_other_architecture(header)
        encoder = self._encoder(header, file)
        tables: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in tensors.items():
            for prefix, table in ((IMAGE, tables["image_proj"]), (ATTENTION, tables["ip_adapter"])):
                if name.startswith(prefix):
                    table[name.removeprefix(prefix)] = tensor.to(unet.dtype, copy=True)
        module: Any = unet.module
        log.info("Loading the IP-Adapter %s", file.name)
        try:
            # diffusers' own conversion of the file; neither of the two changes the UNet.
            processors = module._convert_ip_adapter_attn_to_diffusers([tables])
            projection = module._convert_ip_adapter_image_proj_to_diffusers(tables["image_proj"]).eval().to("cpu")
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("The IP-Adapter %s cannot be loaded", file.path, exc_info=True)
            raise UnfitError(f"which this model cannot use: {reason_of(error)}") from None
        attention = {name: each for name, each in processors.items() if hasattr(each, "to_k_ip")}
        part = Component(f"IP-Adapter {file.name}", torch.nn.ModuleList([*attention.values(), projection]))
        # What it computes is small beside what the model does.
        part.working = 0
        return _Adapter(header, attention, projection, part, encoder)

    def _refuse_other_architecture(self, header: AdapterHeader) -> None:
        own = self._components["unet"].config.cross_attention_dim
        if header.width != own:
            raise UnfitError(
                f"which was made for {architecture_of(header.width)}; this model is {architecture_of(own)}"
            )

    def _encoder(self, header: AdapterHeader, file: FoundFile) -> Path:
        folder = encoder_for(header, file, self._folders)
        if folder is None:
            size = f"{'an embedding' if header.whole else 'hidden states'} of {header.sees}"
            problem = f"is missing: put the folder image_encoder that gives {size} beside its file"
            # Which may come.
            raise UnfitError(f"whose image encoder {problem}", lasting=False)
        if folder not in self._encoders:
            try:
                self._encoders[folder] = load_encoder(folder, self._components["unet"].dtype)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # The libraries fail in as many ways as there are files.
                log.warning("The image encoder %s cannot be loaded", folder, exc_info=True)
                # Without the folders of this machine.
                reason = reason_of(error).replace(str(folder), folder.name)
                raise UnfitError(f"whose image encoder cannot be used: {reason}", lasting=False) from None
        return folder


def _host(module: Any, adapters: Sequence[_Adapter]) -> Any:
    """A copy of a UNet that shares its weights, with the attention of adapters."""
    host = shared_copy(module)
    processors = dict(host.attn_processors)
    for name in adapters[0].attention:
        processors[name] = _joined([adapter.attention[name] for adapter in adapters])
    host.set_attn_processor(processors)
    return host


def _joined(several: Sequence[Any]) -> IPAdapterAttnProcessor | IPAdapterAttnProcessor2_0:
    """The processor of several adapters, whose weights are theirs."""
    first = several[0]
    with torch.device("meta"):
        made = type(first)(
            first.hidden_size,
            first.cross_attention_dim,
            num_tokens=[number for each in several for number in each.num_tokens],
            scale=[1.0] * len(several),
        )
    made.to_k_ip = torch.nn.ModuleList([layer for each in several for layer in each.to_k_ip])
    made.to_v_ip = torch.nn.ModuleList([layer for each in several for layer in each.to_v_ip])
    return made
