"""The connection to the Redis that all processes share, and its faults in our words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.settings import Cluster

log = logging.getLogger(__name__)

# Seconds between two attempts, at most. With so many attempts a command outlasts a restart of Redis by some seconds.
LONGEST_PAUSE = 0.5
ATTEMPTS = 16

# Seconds that an answer may take; Redis answers within milliseconds, so a longer silence is a dead connection.
SOCKET_TIMEOUT = 5.0

# Seconds after which it makes sense to ask again.
RETRY_AFTER = 5

REFUSED = "Redis refuses the password: set the right one in the URL, or as REDIS_PASSWORD."

# How Redis refuses what it may take later, by what it says: before version 7, what happens in a script has no class.
_FULL = "command not allowed when used memory"
_NO_CHANGES = ("MISCONF ", "READONLY ", "NOREPLICAS ", "MASTERDOWN ")


class _Retry(Retry):
    """Tries again what may go better the next time; a wrong password does not."""

    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        """See Retry."""

        def retryable(error: Exception) -> bool:
            return not isinstance(error, redis.AuthenticationError) and (is_retryable is None or is_retryable(error))

        return super().call_with_retry(do, fail, retryable, with_failure_count)


def connect(cluster: Cluster, *, attempts: int = ATTEMPTS) -> redis.Redis:
    """Make a client for all threads; it connects with its first command.

    A command whose answer is lost, because the connection breaks, is sent again, so it may be carried out twice:
    whatever changes something must change nothing the second time.

    Args:
        cluster: where Redis is.
        attempts: how often a command is tried again, with pauses that grow up to ``LONGEST_PAUSE``.
    """
    return redis.Redis.from_url(
        cluster.redis_url.get_secret_value(),
        # A timeout is told at once: it has taken its seconds.
        retry=_Retry(ExponentialBackoff(cap=LONGEST_PAUSE, base=0.01), attempts, (redis.ConnectionError,)),
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        health_check_interval=30,
    )


def refuse_unusable(cluster: Cluster) -> None:
    """Look whether Redis is there and lets us in; takes some seconds where it is not.

    Raises:
        ConfigurationError: it is not, or does not.
    """
    with connect(cluster) as client:
        try:
            client.ping()
        except redis.AuthenticationError as error:
            fault = f"{REFUSED} It says: {error}"
        except redis.RedisError as error:
            fault = f"Redis does not answer: {error}"
        else:
            return
    raise ConfigurationError([f"cluster.redis_url: {fault}"])


@contextmanager
def redis_faults_as_ours() -> Iterator[None]:
    """Raise StoreUnavailable where Redis stays away or cannot take more; to be used as a decorator, too."""
    try:
        yield
    except redis.RedisError as error:
        fault = fault_that_passes(error)
        if fault is None:
            raise
        log.error("Redis cannot be used: %s", error)
        raise StoreUnavailable(
            f"The server's memory of jobs and tasks (Redis) {fault}", retry_after=RETRY_AFTER
        ) from None


def fault_that_passes(error: redis.RedisError) -> str | None:
    """What to tell of a fault that may pass, as the rest of a sentence about Redis; None where it is ours."""
    if isinstance(error, redis.AuthenticationError):
        return "refuses the server's password."
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return "cannot be reached at the moment. Try again soon."
    if _FULL in str(error):
        return "is full. Try again when others are done."
    if isinstance(error, redis.exceptions.ReadOnlyError) or any(refusal in str(error) for refusal in _NO_CHANGES):
        return "keeps nothing at the moment. Try again soon."
    return None
