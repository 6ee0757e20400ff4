"""The rate limit of login attempts."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import Storage
from limits.strategies import MovingWindowRateLimiter

from sd_api.errors import StoreUnavailable, TooManyAttempts

log = logging.getLogger(__name__)

# Attempts of one client for one user; a successful one resets the count.
PER_USER = RateLimitItemPerMinute(5)
# All attempts of one client, because each one costs memory and time.
PER_CLIENT = RateLimitItemPerMinute(60)


class Attempts:
    """Counts login attempts, and refuses those that exceed the rate limit.

    Args:
        storage: stores the counts.
    """

    def __init__(self, storage: Storage) -> None:
        self._limiter = MovingWindowRateLimiter(storage)

    def begin(self, client: str, username: str | None = None) -> None:
        """Count an attempt before the password is verified, so that concurrent attempts count, too.

        Args:
            client: the address of the client.
            username: the user whose password is tried; None for signing up.

        Raises:
            TooManyAttempts: the rate limit is exceeded; the error has the seconds to wait.
        """
        self._count(PER_CLIENT, client)
        if username is not None:
            self._count(PER_USER, client, username)

    def succeed(self, client: str, username: str) -> None:
        """Reset the count of a user, because the password was right."""
        with _translate_errors():
            self._limiter.clear(PER_USER, client, username)

    def _count(self, limit: RateLimitItem, *key: str) -> None:
        with _translate_errors():
            if self._limiter.hit(limit, *key):
                return
            reset = self._limiter.get_window_stats(limit, *key).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        raise TooManyAttempts(f"Too many attempts. Try again in {seconds} seconds.", retry_after=seconds)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        log.error("Login attempts cannot be counted: %s", error)
        raise StoreUnavailable("Logins are not possible at the moment, because attempts cannot be counted.") from None
