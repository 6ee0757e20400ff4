"""Gives memory back to the system after large requests."""

import ctypes
import sys
from collections.abc import Callable


def find_trim() -> Callable[[], object] | None:
    """What gives back the memory that was freed; None where the system does so by itself.

    Python frees what it held, but glibc keeps most of that for the next allocation.
    """
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)
