"""The connection to the Redis that all processes share, and the translation of its errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from sd_api.cluster.breaker import Breaker
from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.settings import Cluster

log = logging.getLogger(__name__)

# Seconds between two attempts, at most. With so many retries a command outlasts a restart of Redis by some seconds.
MAX_RETRY_PAUSE = 0.5
ATTEMPTS = 16

# Seconds that an answer may take; Redis answers within milliseconds, so a longer silence is a dead connection.
SOCKET_TIMEOUT = 5.0

# Seconds offered as Retry-After.
RETRY_AFTER = 5

REFUSED = "Redis refuses the password: set the right one in the URL, or as REDIS_PASSWORD."

# Parts of the messages with which Redis refuses a command that it may accept later: before version 7, errors in a
# script have no class of their own.
_FULL = "command not allowed when used memory"
_NO_CHANGES = ("MISCONF ", "READONLY ", "NOREPLICAS ", "MASTERDOWN ")


class _Retry(Retry):
    """Tries a command again unless the password is wrong.

    Args:
        attempts: how often.
        breaker: lets commands fail at once while Redis does not answer; None if each one is to be tried.
    """

    def __init__(self, attempts: int, breaker: Breaker | None) -> None:
        # A timeout is not tried again, because it has taken its seconds already.
        super().__init__(ExponentialBackoff(cap=MAX_RETRY_PAUSE, base=0.01), attempts, (redis.ConnectionError,))
        self._breaker = breaker

    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        """See Retry."""

        def retryable(error: Exception) -> bool:
            return not isinstance(error, redis.AuthenticationError) and (is_retryable is None or is_retryable(error))

        with nullcontext() if self._breaker is None else self._breaker.command():
            return super().call_with_retry(do, fail, retryable, with_failure_count)


def connect(cluster: Cluster, *, attempts: int = ATTEMPTS, fails_fast: bool = False) -> redis.Redis:
    """Make a thread-safe client, which connects with its first command.

    A command whose answer is lost, because the connection breaks, is sent again, so it may be run twice: every command
    must be idempotent.

    Args:
        cluster: the settings with the URL of Redis.
        attempts: how often a command is tried again, with pauses that grow up to ``MAX_RETRY_PAUSE``.
        fails_fast: whether commands fail at once after one that has failed; for clients that requests wait for.
    """
    return redis.Redis.from_url(
        cluster.redis_url.get_secret_value(),
        retry=_Retry(attempts, Breaker() if fails_fast else None),
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        health_check_interval=30,
    )


def check_redis(cluster: Cluster) -> None:
    """Check that Redis answers and accepts the password; takes some seconds if it cannot be reached.

    Raises:
        ConfigurationError: Redis cannot be reached, or refuses the password.
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
def translate_redis_errors() -> Iterator[None]:
    """Raise StoreUnavailable if Redis cannot be reached or is full; also usable as a decorator."""
    try:
        yield
    except redis.RedisError as error:
        fault = transient_fault(error)
        if fault is None:
            raise
        log.error("Redis cannot be used: %s", error)
        raise StoreUnavailable(
            f"The server's memory of jobs and tasks (Redis) {fault}", retry_after=RETRY_AFTER
        ) from None


def transient_fault(error: redis.RedisError) -> str | None:
    """Describe an error that may pass, as the rest of a sentence about Redis; None if the error is a bug of ours."""
    if isinstance(error, redis.AuthenticationError):
        return "refuses the server's password."
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return "cannot be reached at the moment. Try again soon."
    if _FULL in str(error):
        return "is full. Try again when others are done."
    if isinstance(error, redis.exceptions.ReadOnlyError) or any(refusal in str(error) for refusal in _NO_CHANGES):
        return "accepts no changes at the moment. Try again soon."
    return None
