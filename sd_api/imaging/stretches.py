"""Large texts and files, made a stretch at a time.

No other thread interrupts what Python does in one call: to copy 60 MB takes some 40 ms, most of them for memory that
the system has to clear first. Here each call is short.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import islice

# Bytes or characters that are taken at a time.
STRETCH = 1 << 18

# Stretches by which a text grows. CPython lengthens a text that nobody else holds where it is; where the system has to
# move it for that, so few moves of 60 MB cost little.
_GROWTH = 8


def stretches_of(size: int) -> Iterator[slice]:
    """The slices, one after another, of something of a size."""
    for start in range(0, size, STRETCH):
        yield slice(start, min(start + STRETCH, size))


def join_text(pieces: Iterable[str]) -> str:
    """The same as ``"".join``, with other threads in between; the pieces are stretches."""
    coming, whole = iter(pieces), ""
    # One place that lengthens it: CPython does so only in a place that it has seen often, and copies all elsewhere.
    while some := list(islice(coming, _GROWTH)):
        whole += "".join(some)
    return whole


def copy_bytes(content: memoryview) -> bytes:
    """The same as ``bytes``, with other threads in between."""
    whole = io.BytesIO()
    for part in stretches_of(len(content)):
        whole.write(content[part])
    # Not copied: the buffer is shortened to what is in it.
    return whole.getvalue()
