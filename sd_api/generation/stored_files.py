"""Images that a request names and does not send: few bytes that stand for many."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from sd_api.errors import ImagesHeld

# As many of the largest requests are read at a time as there are bodies of that size, or more of smaller ones.
LARGEST_REQUESTS = 2


@dataclass(frozen=True)
class StoredFile:
    """An image's file that is read once its size has been counted.

    Attributes:
        size: In bytes.
        read: Reads it.
    """

    size: int
    read: Callable[[], bytes]


class ReadBytes:
    """Counts the bytes of the files that all requests of this process have read, until these have become jobs."""

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may give bytes back in the thread that takes some.
        self._lock = threading.RLock()
        self._held = 0

    def take(self, size: int, holder: object, largest: int) -> None:
        """Count the bytes of a file until nothing refers to what holds it.

        Args:
            size: Of the file.
            holder: Lives as long as the file is needed.
            largest: The most bytes that one request reads.

        Raises:
            ImagesHeld: The files of other requests are in memory.
        """
        with self._lock:
            if self._held and self._held + size > LARGEST_REQUESTS * largest:
                raise ImagesHeld("The stored images of other requests fill the memory for them. Try again.")
            self._held += size
        weakref.finalize(holder, self._give, size)

    def _give(self, size: int) -> None:
        with self._lock:
            self._held -= size
