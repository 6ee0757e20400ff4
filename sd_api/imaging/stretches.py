"""Large texts and files, made a stretch at a time.

No other thread interrupts what Python does in one call: to copy 60 MB takes some 40 ms, most of them for memory that
the system has to clear first. Here each call is short.
"""

import io
from collections.abc import Iterable, Iterator

import numpy as np

# Bytes or characters that are taken at a time.
STRETCH = 1 << 18


def stretches_of(size: int, longest: int = STRETCH) -> Iterator[slice]:
    """The slices, one after another, of something of a size, none of them longer than ``longest``."""
    for start in range(0, size, longest):
        yield slice(start, min(start + longest, size))


def gather(pieces: Iterable[bytes], most: int) -> memoryview:
    """The same as ``b"".join``, with other threads in between; the pieces are stretches.

    Args:
        pieces: what is joined.
        most: bytes that they have together, or more. The memory is asked for at once, so nothing is moved, and what is
            not needed of it is never touched.
    """
    whole = np.empty(most, np.uint8).data
    size = 0
    for piece in pieces:
        whole[size : size + len(piece)] = piece
        size += len(piece)
    return whole[:size]


def copy_bytes(content: memoryview) -> bytes:
    """The same as ``bytes``, with other threads in between."""
    whole = io.BytesIO()
    for part in stretches_of(len(content)):
        whole.write(content[part])
    # Not copied: the buffer is shortened to what is in it.
    return whole.getvalue()
