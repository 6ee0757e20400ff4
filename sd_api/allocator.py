"""The C library's allocator, where it is glibc: what it does with freed memory, and for which threads."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8


def share_one_arena() -> None:
    """Let all threads allocate from one arena; to be called before any thread is started.

    In the arenas that glibc makes for threads no block is larger than 64 MiB. So the larger tensors of the engine's
    thread would be mapped, cleared and unmapped each time, which takes a fifth of an autoencoder's time.
    """
    _set({M_ARENA_MAX: 1})


def keep_freed_memory() -> None:
    """Keep what is freed for the next tensors, where glibc would give it back and get it, cleared, anew each time."""
    _set({M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 << 20})


def find_trim() -> Callable[[], object] | None:
    """What gives back the memory that was freed; None where the system does so by itself.

    Python frees what it held, but glibc keeps most of that for the next allocation.
    """
    trim = _find("malloc_trim")
    return None if trim is None else lambda: trim(0)


def _set(options: dict[int, int]) -> None:
    mallopt = _find("mallopt")
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def _find(name: str) -> Any:
    """A function of the C library; None where it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
