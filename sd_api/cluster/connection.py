"""The connection to the Redis that all processes share, and its faults in our words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from sd_api.errors import StoreUnavailable
from sd_api.settings import Cluster

log = logging.getLogger(__name__)

# Seconds between two attempts, at most. With so many attempts a command outlasts a restart of Redis by some seconds.
LONGEST_PAUSE = 0.5
ATTEMPTS = 16

# Seconds that an answer may take; Redis answers within milliseconds, so a longer silence is a dead connection.
SOCKET_TIMEOUT = 5.0

# Seconds after which it makes sense to ask again.
RETRY_AFTER = 5


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
        retry=Retry(ExponentialBackoff(cap=LONGEST_PAUSE, base=0.01), attempts, (redis.ConnectionError,)),
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        health_check_interval=30,
    )


@contextmanager
def redis_faults_as_ours() -> Iterator[None]:
    """Raise StoreUnavailable where Redis stays away or cannot take more; to be used as a decorator, too."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        log.error("Redis is not there: %s", error)
        raise StoreUnavailable(
            "The server's memory of jobs and tasks (Redis) cannot be reached at the moment. Try again soon.",
            retry_after=RETRY_AFTER,
        ) from None
    except redis.exceptions.OutOfMemoryError as error:
        log.error("Redis takes no more: %s", error)
        raise StoreUnavailable(
            "The server's memory of jobs and tasks (Redis) is full. Try again when others are done.",
            retry_after=RETRY_AFTER,
        ) from None
