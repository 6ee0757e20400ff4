"""Arrays a part at a time: arithmetic on a whole picture would need many times its memory."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

# Values of one part.
_VALUES = 1 << 20


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Indices of the parts of an array of such a shape, along the longer one of its first two axes."""
    axis = int(np.argmax(shape[:2]))
    step = max(1, _VALUES * shape[axis] // max(1, int(np.prod(shape))))
    for start in range(0, shape[axis], step):
        yield (*(slice(None),) * axis, slice(start, start + step))


def in_blocks(
    values: npt.NDArray[Any], kind: npt.DTypeLike, compute: Callable[[npt.NDArray[Any]], Any]
) -> npt.NDArray[Any]:
    """An array of type ``kind`` of what ``compute`` makes of the parts of ``values``, whose shapes stay."""
    made = np.empty(values.shape, kind)
    for part in blocks(values.shape):
        made[part] = compute(values[part])
    return made
