"""A circuit breaker: while Redis does not answer, commands fail at once instead of holding a thread each."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

# Seconds after a failed command in which others fail at once.
PAUSE = 1.0


class Breaker:
    """Shared by all connections of a client; thread-safe.

    After a command that has failed for good, the others fail for ``PAUSE`` seconds. Then one at a time is tried, until
    one is answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        # When the next command may be tried, and whether one is.
        self._next_trial = 0.0
        self._trying = False
        # The threads with a command under way, which may have to connect for it.
        self._inside: set[int] = set()

    def __deepcopy__(self, _: dict[int, Any]) -> "Breaker":
        """The same one: each connection copies what it is configured with."""
        return self

    @contextmanager
    def command(self) -> Iterator[None]:
        """A block that sends a command, with all of its retries.

        Raises:
            redis.ConnectionError: an earlier command has failed a moment ago, or one is being tried.
        """
        thread = threading.get_ident()
        if thread in self._inside:
            yield
            return
        self._admit()
        self._inside.add(thread)
        fails = False
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            # A Redis that refuses the password answers.
            fails = not isinstance(error, redis.AuthenticationError)
            raise
        finally:
            self._inside.discard(thread)
            self._note(fails)

    def _admit(self) -> None:
        with self._lock:
            if not self._open:
                return
            if self._trying or time.monotonic() < self._next_trial:
                raise redis.ConnectionError("it has not answered a moment ago")
            self._trying = True

    def _note(self, fails: bool) -> None:
        with self._lock:
            self._open, self._trying = fails, False
            if fails:
                self._next_trial = time.monotonic() + PAUSE
