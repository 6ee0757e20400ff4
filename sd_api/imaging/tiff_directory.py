"""The first directory of a TIFF file: the tags that say what the pixels are, each with a bounded number of values."""

import struct
from dataclasses import dataclass

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_LENGTHS, PLANAR, PREDICTOR, COLOUR_MAP = 273, 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS = 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE = 332, 338, 339, 34675
PAGE_KIND, SUB_DIRECTORIES, RAW_VERSION = 254, 330, 50706

_MOST_ENTRIES = 4096
_FEW = 64
_MOST_SEGMENTS = 1 << 16  # strips or tiles; each costs a step
# The most values of those tags that have more than a few.
_MANY = {
    **dict.fromkeys([STRIP_OFFSETS, STRIP_LENGTHS, TILE_OFFSETS, TILE_LENGTHS], _MOST_SEGMENTS),
    COLOUR_MAP: 3 << 16,
    347: 1 << 16,  # JPEG's tables, in bytes
}
# What a decoder needs to know: also the bits' order, options of fax compressions, old JPEG, and YCbCr.
_FOR_DECODERS = {
    *[WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_LENGTHS, PLANAR],
    *[PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS, INK_SET, EXTRA_SAMPLES],
    *[SAMPLE_FORMAT, 266, 292, 293, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532],
}
_FOR_US = {ORIENTATION, PROFILE, PAGE_KIND, SUB_DIRECTORIES, RAW_VERSION}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Tag:
    entry: bytes  # as it stands in the directory
    kind: int
    count: int
    content: bytes


class Directory:
    """What the first directory of a TIFF or BigTIFF file says.

    Args:
        data: the file.

    Raises:
        ValueError: the directory is damaged, or has more values than pictures have.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data.startswith(b"II") else ">"
        self._big = struct.unpack_from(f"{self._order}H", data, 2) == (43,)
        self._tags: dict[int, _Tag] = {}
        (start,) = self._unpack("Q", 8) if self._big else self._unpack("I", 4)
        (entries,) = self._unpack("Q" if self._big else "H", start)
        if entries > _MOST_ENTRIES:
            raise ValueError(f"its directory has {entries:,} entries; at most {_MOST_ENTRIES:,} are read")
        start, size = (start + 8, 20) if self._big else (start + 2, 12)
        for number in range(entries):
            self._add(start + size * number, size)

    def _unpack(self, layout: str, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(f"{self._order}{layout}", self._data, place)
        except struct.error:
            raise ValueError("it is cut off") from None

    def _add(self, place: int, size: int) -> None:
        code, kind, count = self._unpack("HHQ" if self._big else "HHI", place)
        if code not in _FOR_DECODERS | _FOR_US or code in self._tags or kind not in _SIZES:
            return
        most = len(self._data) if code == PROFILE else _MANY.get(code, _FEW)
        if count > most:
            raise ValueError(f"it has {count:,} values of tag {code}; at most {most:,} are read")
        length, room = count * _SIZES[kind], 8 if self._big else 4
        start = place + size - room
        if length > room:
            (start,) = self._unpack("Q" if self._big else "I", start)
        content = self._data[start : start + length]
        if len(content) < length:
            raise ValueError("it is cut off")
        self._tags[code] = _Tag(self._data[place : place + size], kind, count, content)

    def __contains__(self, code: int) -> bool:
        return code in self._tags

    @property
    def file_size(self) -> int:
        """Bytes of the file."""
        return len(self._data)

    def content(self, code: int) -> bytes:
        """The values of a tag as they stand in the file; empty if it is not there."""
        return self._tags[code].content if code in self._tags else b""

    def numbers(self, code: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The values of a tag of unsigned integers; ``default`` if it is not there, or of another type."""
        tag = self._tags.get(code)
        if tag is None or tag.kind not in _UNSIGNED or not tag.count:
            return default
        return struct.unpack(f"{self._order}{tag.count}{_UNSIGNED[tag.kind]}", tag.content)

    def number(self, code: int, default: int = 0) -> int:
        """The first value of a tag of unsigned integers."""
        return self.numbers(code, (default,))[0]

    def bare_file(self) -> bytes:
        """The file with no other directory than this one, in which there is only what decoders need to know."""
        entries = [tag.entry for code, tag in sorted(self._tags.items()) if code in _FOR_DECODERS]
        place = len(self._data) + len(self._data) % 2
        if self._big:
            start = self._data[:8] + struct.pack(f"{self._order}Q", place)
            directory = struct.pack(f"{self._order}Q", len(entries)) + b"".join(entries) + bytes(8)
        else:
            start = self._data[:4] + struct.pack(f"{self._order}I", place)
            directory = struct.pack(f"{self._order}H", len(entries)) + b"".join(entries) + bytes(4)
        return b"".join([start, self._data[len(start) :], bytes(place - len(self._data)), directory])
