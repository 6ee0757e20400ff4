"""How often a password may be wrong."""

import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from sd_api.errors import TooManyAttempts

# By one client for one user, not counting the last one that succeeded and what was before.
PER_USER = RateLimitItemPerMinute(5)
# By one client altogether, because each takes work.
PER_CLIENT = RateLimitItemPerMinute(60)


class Attempts:
    """Counts logins, and refuses those that come too often."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

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
        self._limiter.clear(PER_USER, client, username)

    def _count(self, limit: RateLimitItem, *of: str) -> None:
        if not self._limiter.hit(limit, *of):
            reset = self._limiter.get_window_stats(limit, *of).reset_time
            seconds = max(1, math.ceil(reset - time.time()))
            raise TooManyAttempts(f"Too many attempts. Try again in {seconds} seconds.", retry_after=seconds)
