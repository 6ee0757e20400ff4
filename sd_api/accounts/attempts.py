"""How often a password may be wrong."""

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

# By one client for one user, not counting the last one that succeeded and what was before.
PER_USER = RateLimitItemPerMinute(5)
# By one client altogether, because each takes work.
PER_CLIENT = RateLimitItemPerMinute(60)


class Attempts:
    """Counts logins, and refuses those that come too often.

    Args:
        storage: where they are counted.
    """

    def __init__(self, storage: Storage) -> None:
        self._limiter = MovingWindowRateLimiter(storage)

    def begin(self, client: str, username: str | None = None) -> None:
        """Count an attempt before it is looked at, so that many at once count as many.

        Args:
            client: the address that it came from.
            username: whose password is tried; None where that is not what it is about.

        Raises:
            TooManyAttempts: with the seconds after which the next one is looked at.
        """
        self._count(PER_CLIENT, client)
        if username is not None:
            self._count(PER_USER, client, username)

    def succeed(self, client: str, username: str) -> None:
        """Take note that the password was right."""
        with _faults_as_ours():
            self._limiter.clear(PER_USER, client, username)

    def _count(self, limit: RateLimitItem, *of: str) -> None:
        with _faults_as_ours():
            if self._limiter.hit(limit, *of):
                return
            reset = self._limiter.get_window_stats(limit, *of).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        raise TooManyAttempts(f"Too many attempts. Try again in {seconds} seconds.", retry_after=seconds)


@contextmanager
def _faults_as_ours() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        log.error("Logins cannot be counted: %s", error)
        raise StoreUnavailable("Logins cannot be counted at the moment, so none is looked at.") from None
