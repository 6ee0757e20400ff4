"""Gives memory back to the system after large requests."""

import asyncio
import threading

from sd_api.allocator import find_trim

# It is worth it, if what was taken since the last time had more bytes than this in all.
WORTH_TRIMMING = 32 << 20


class Trimming:
    """Gives memory back whenever enough was taken and nothing of it is held any more; for the event loop alone."""

    def __init__(self) -> None:
        self._trim = find_trim()
        self._taken = 0
        self._held = 0

    def take(self, size: int) -> None:
        """Count bytes that are held from now on."""
        self._taken += size
        self._held += size

    def give(self, size: int) -> None:
        """Count bytes that are held no longer."""
        self._held -= size
        if self._trim is not None and not self._held and self._taken > WORTH_TRIMMING:
            self._taken = 0
            # It takes some milliseconds, and the answer's own memory is freed first.
            asyncio.get_running_loop().call_later(1, threading.Thread(target=self._trim).start)
