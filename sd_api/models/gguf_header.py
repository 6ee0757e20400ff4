"""Reads the header of a GGUF file, within bounds, before any library does.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from sd_api.models.bounded_files import MAX_HEADER_BYTES, MAX_TENSORS, FileFaultError
from sd_api.models.extras import missing_extra

GGUF_MAGIC = b"GGUF"

_VERSIONS = (2, 3)
_MAX_ENTRIES = 10_000
_MAX_DIMENSIONS = 5
_ALIGNMENT = 32
# The sizes of the plain types of values, by their numbers; a text and a list have none.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _TEXT, _LIST = 4, 8, 9


@dataclass(frozen=True)
class GGUFTensor:
    """What a GGUF file says of a tensor.

    Attributes:
        shape: As torch has it; GGUF lists the dimensions in the opposite order.
        kind: The number of its type.
        start: Where its bytes begin, from the end of the header.
    """

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class GGUFHeader:
    """The header of a GGUF file.

    Attributes:
        tensors: By their names.
        texts: The values that are texts, by their keys, such as ``general.architecture``.
        data: Where the bytes of the tensors begin.
    """

    tensors: dict[str, GGUFTensor] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    data: int = 0


def read_gguf_header(path: Path) -> GGUFHeader:
    """Read a header.

    Raises:
        FileFaultError: it is damaged, of an unknown version, or larger than allowed.
    """
    with path.open("rb") as file:
        content = file.read(MAX_HEADER_BYTES)
    try:
        return _Reader(path, content).header()
    except (struct.error, UnicodeDecodeError):
        if path.stat().st_size > len(content):
            raise FileFaultError(path, f"its header has more than {MAX_HEADER_BYTES:,} bytes") from None
        raise FileFaultError(path, "cut short or damaged; download it again") from None


def check_gguf(path: Path) -> None:
    """Check the header of a GGUF file, and that it describes bytes that the file has.

    Raises:
        FileFaultError: it does not, or the library that reads the weights is not installed.
    """
    header = read_gguf_header(path)
    if not header.tensors:
        raise FileFaultError(path, "it holds no weights")
    if reason := missing_extra("gguf"):
        raise FileFaultError(path, reason)
    from gguf import GGML_QUANT_SIZES

    size = path.stat().st_size
    for name, tensor in header.tensors.items():
        if (sizes := GGML_QUANT_SIZES.get(tensor.kind)) is None:  # type: ignore[call-overload]
            raise FileFaultError(path, f"its tensors have the type {tensor.kind}, which is unknown")
        if tensor.shape[-1] % sizes[0]:
            raise FileFaultError(path, f"damaged: {name[:100]!r} has rows of {tensor.shape[-1]}")
        if header.data + tensor.start + stored_as(tensor)[1] > size:
            raise FileFaultError(path, "cut short or damaged (a tensor lies outside of it); download it again")


def stored_as(tensor: GGUFTensor) -> tuple[str, int]:
    """The name of a tensor's type, which is a known one, and its bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType(tensor.kind)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return kind.name, prod(tensor.shape) // block * block_bytes


class _Reader:
    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content
        self._at = len(GGUF_MAGIC)

    def header(self) -> GGUFHeader:
        version = self._one("I")
        if version not in _VERSIONS:
            raise FileFaultError(self._path, f"GGUF of version {version}; this server reads {_VERSIONS}")
        tensor_count, entries = self._one("Q"), self._one("Q")
        if tensor_count > MAX_TENSORS:
            raise FileFaultError(self._path, f"its header names more than {MAX_TENSORS:,} tensors")
        if entries > _MAX_ENTRIES:
            raise FileFaultError(self._path, f"its header has more than {_MAX_ENTRIES:,} entries")
        texts: dict[str, str] = {}
        alignment = _ALIGNMENT
        for _ in range(entries):
            key, kind = self._text(), self._one("I")
            if kind == _TEXT:
                texts[key] = self._text()
            elif key == "general.alignment" and kind == _UINT32:
                alignment = self._one("I")
            else:
                self._skip(kind)
        if alignment == 0 or alignment & (alignment - 1):
            raise FileFaultError(self._path, f"damaged: its alignment is {alignment}")
        tensors = dict(self._tensor() for _ in range(tensor_count))
        if len(tensors) < tensor_count:
            raise FileFaultError(self._path, "damaged: two of its tensors have one name")
        return GGUFHeader(tensors, texts, -(-self._at // alignment) * alignment)

    def _tensor(self) -> tuple[str, GGUFTensor]:
        name, count = self._text(), self._one("I")
        if not 1 <= count <= _MAX_DIMENSIONS:
            raise FileFaultError(self._path, f"damaged: {name[:100]!r} has {count} dimensions")
        shape = tuple(self._several("Q", count))[::-1]
        if not all(shape):
            raise FileFaultError(self._path, f"damaged: {name[:100]!r} has no weights")
        return name, GGUFTensor(shape, self._one("I"), self._one("Q"))

    def _several(self, form: str, count: int) -> tuple[int, ...]:
        layout = f"<{count}{form}"
        values = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _one(self, form: str) -> int:
        return self._several(form, 1)[0]

    def _text(self) -> str:
        return self._bytes(self._one("Q")).decode("utf-8")

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._content):
            raise struct.error
        found = self._content[self._at : end]
        self._at = end
        return found

    def _skip(self, kind: int) -> None:
        """Pass over a value; lists of texts are the only ones without a size."""
        for size in self._sizes(kind):
            self._bytes(size)

    def _sizes(self, kind: int) -> Iterator[int]:
        if kind == _TEXT:
            yield self._one("Q")
        elif kind == _LIST:
            inner, count = self._one("I"), self._one("Q")
            if inner == _TEXT:
                # The first of too many that is not there ends it.
                for _ in range(count):
                    yield self._one("Q")
            else:
                yield self._size(inner) * count
        else:
            yield self._size(kind)

    def _size(self, kind: int) -> int:
        if kind not in _SIZES:
            raise FileFaultError(self._path, f"damaged: a value has the type {kind}")
        return _SIZES[kind]
