"""Pictures that were converted for an answer: each once, while others that want it wait."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

# Bytes of those that are kept.
MOST_BYTES = 32 << 20

# Of two pictures with the same lock, one waits for the other without need.
_LOCKS = 64


class Conversions:
    """The latest conversions; may be used by any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._converting = [threading.Lock() for _ in range(_LOCKS)]

    def get(self, key: Hashable, convert: Callable[[], bytes]) -> bytes:
        """A file by its key; ``convert`` makes it if it is not kept, and what it raises is not kept."""
        with self._converting[hash(key) % _LOCKS]:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            made = convert()
            with self._lock:
                self._kept[key] = made
                self._bytes += len(made)
                while self._bytes > MOST_BYTES:
                    self._bytes -= len(self._kept.popitem(last=False)[1])
            return made
