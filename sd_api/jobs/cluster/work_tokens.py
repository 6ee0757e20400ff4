"""Work tokens: Dramatiq's messages, each a permit to run one job, and how idle workers are woken for them.

Dramatiq's consumer polls Redis, with pauses. Here it polls once, then blocks on a list in Redis until a token is
issued: a token is redeemed within a millisecond or two, and an idle worker costs next to nothing.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed

from sd_api.settings import Cluster

QUEUE = "work-tokens"
ACTOR = "redeem_token"

# Seconds that an idle worker blocks before it polls all the same; this is also the interval of Dramatiq's heartbeats.
MAX_BLOCK_SECONDS = 1.0

# Seconds in which a consumer notices that Dramatiq has stopped.
STOPPING_PAUSE = 0.02

# Of a million commands, so many requeue the messages of dead workers; each worker sends about two commands a second.
MAINTENANCE_CHANCE = 100_000

# Seconds after which an entry of a wake-up list expires: a worker that becomes idle later polls first anyway.
WAKEUP_TTL_SECONDS = 2


class TokenBroker(RedisBroker):
    """Dramatiq's broker, with consumers that block on wake-up lists.

    Args:
        client: the connection to Redis.
        cluster: the settings, of which the time without heartbeats is used.
        worker: the id of the worker in this process; "" in a process without one.
        before_waiting: called each time before the worker blocks because there is no token.
    """

    def __init__(
        self,
        client: redis.Redis,
        cluster: Cluster,
        worker: str = "",
        before_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            # None of the usual middleware, because its time limits and retries would interfere with those of jobs.
            middleware=[],
            namespace="sd:dramatiq",
            maintenance_chance=MAINTENANCE_CHANCE,
            heartbeat_timeout=cluster.worker_timeout * 1000,
        )
        self._worker = worker
        self._before_waiting = before_waiting
        self._consumers: list[_BlockingConsumer] = []

    def declare_actor(self, actor: Any) -> None:
        """Know an actor before its queue is declared, which is read from then on; Dramatiq does it the other way."""
        self.actors[actor.actor_name] = actor
        super().declare_actor(actor)

    def issue_token(self, worker: str | None = None) -> None:
        """Permit one more job to be run, and wake a worker for it.

        Args:
            worker: the id of the worker to wake; None for any idle worker. Any worker may redeem the token.
        """
        self.enqueue(dramatiq.Message(queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={}, options={}))
        self.wake(worker)

    def wake(self, worker: str | None) -> None:
        """Have an idle worker poll for a token; None for any idle worker."""
        wakeup_list = _wakeup_list(worker)
        with self.client.pipeline() as pipeline:
            pipeline.rpush(wakeup_list, 1)
            pipeline.expire(wakeup_list, WAKEUP_TTL_SECONDS)
            pipeline.execute()

    def stop_waiting(self) -> None:
        """End the blocking of this process's worker, because the worker stops."""
        for consumer in self._consumers:
            consumer.stop_waiting()
        self.wake(self._worker)

    def consume(
        self,
        queue_name: str,
        prefetch: int = 1,
        timeout: int = 1,  # noqa: ARG002 - milliseconds; short, because the waiting is done here
    ) -> dramatiq.Consumer:
        """See Broker."""
        consumer = super().consume(queue_name, prefetch, timeout=1)
        wakeup_lists = [_wakeup_list(self._worker), _wakeup_list(None)] if queue_name == QUEUE else []
        blocking = _BlockingConsumer(consumer, prefetch, self.client, wakeup_lists, self._before_waiting)
        self._consumers.append(blocking)
        return blocking


class _BlockingConsumer(dramatiq.Consumer):
    """A consumer that blocks on wake-up lists whenever there is no message."""

    def __init__(
        self,
        consumer: Any,
        prefetch: int,
        client: redis.Redis,
        wakeup_lists: list[str],
        before_waiting: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._prefetch = prefetch
        self._client = client
        self._wakeup_lists = wakeup_lists
        self._before_waiting = before_waiting
        self._done = threading.Event()
        self._stopping = False

    def ack(self, message: Any) -> None:
        self._consumer.ack(message)
        self._done.set()

    def nack(self, message: Any) -> None:
        self._consumer.nack(message)
        self._done.set()

    def requeue(self, messages: Iterable[Any]) -> None:
        self._consumer.requeue(messages)

    def close(self) -> None:
        self._consumer.close()

    def stop_waiting(self) -> None:
        self._stopping = True
        self._done.set()

    def __next__(self) -> Any:
        if self._stopping:
            time.sleep(STOPPING_PAUSE)
            return None
        if self._consumer.outstanding_message_count >= self._prefetch:
            self._done.wait(MAX_BLOCK_SECONDS)
            self._done.clear()
            return None
        try:
            message = next(self._consumer)
            if message is None:
                self._wait()
        except redis.RedisError as error:
            # Dramatiq handles this error: it connects again after a pause.
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        return message

    def _wait(self) -> None:
        if not self._wakeup_lists:
            # The queue of delayed messages, of which there are none; polling it is Dramatiq's heartbeat.
            self._done.wait(MAX_BLOCK_SECONDS)
            return
        self._before_waiting()
        self._client.blpop(self._wakeup_lists, timeout=MAX_BLOCK_SECONDS)


def _wakeup_list(worker: str | None) -> str:
    return f"sd:wakeup:{worker}" if worker else "sd:wakeup"
