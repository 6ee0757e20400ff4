"""What a file of weights says of itself before they are read: its tensors and its metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sd_api.models.gguf_header import read_gguf_header, stored_as
from sd_api.models.weight_formats import WeightFormat, format_of

# The ends of the names of the factors beside fp8 weights, and the name that marks a file with such.
SCALES = (".scale_weight", ".weight_scale")
SCALED_MARK = "scaled_fp8"
# The types of whole numbers, as safetensors spells them.
_WHOLE = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor.

    Attributes:
        shape: As torch has it.
        dtype: As the format spells it, such as ``F16`` or ``Q8_0``.
        size: Its bytes in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    size: int


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        path: The file.
        format: Its format, which is not that of pickles.
        tensors: Its tensors by their names.
        metadata: What else it says, such as ``modelspec.architecture``.
        name: The name of the model's file without the ending, also where ``path`` is a converted copy of it.
    """

    path: Path
    format: WeightFormat
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by its name."""
        return {name: info.shape for name, info in self.tensors.items()}

    def has(self, *prefixes: str) -> bool:
        """Whether the name of a tensor begins with one of these."""
        return any(name.startswith(prefixes) for name in self.tensors)

    @property
    def whole_numbers(self) -> str | None:
        """The type of weights that are whole numbers, which mean nothing by themselves; None where there are none.

        Counters and numbers of places are no weights.
        """
        kinds = (info.dtype for name, info in self.tensors.items() if name.endswith(".weight") and len(info.shape) > 1)
        return next((kind for kind in kinds if kind in _WHOLE), None)

    @property
    def is_scaled(self) -> bool:
        """Whether its fp8 weights have factors beside them, as ComfyUI writes them."""
        return any(name.endswith(SCALES) or name.rpartition(".")[2] == SCALED_MARK for name in self.tensors)


def read_header(path: Path, name: str | None = None) -> Header:
    """Read the header of a safetensors or GGUF file that has no faults.

    Args:
        path: the file.
        name: see Header; the file's own without one.

    Raises:
        FileFaultError: the file is damaged.
    """
    name = path.stem if name is None else name
    found = format_of(path)
    if found == "gguf":
        gguf = read_gguf_header(path)
        infos = {key: TensorInfo(tensor.shape, *stored_as(tensor)) for key, tensor in gguf.tensors.items()}
        return Header(path, found, infos, gguf.texts, name)
    with path.open("rb") as file:
        content = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = content.pop("__metadata__", None) or {}
    infos = {key: _tensor_info(value) for key, value in content.items()}
    return Header(path, found, infos, metadata, name)


def _tensor_info(described: Mapping[str, Any]) -> TensorInfo:
    start, end = described["data_offsets"]
    return TensorInfo(tuple(described["shape"]), described["dtype"], end - start)
