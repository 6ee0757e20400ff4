"""Turns: Dramatiq's messages, each the right to run some job, and how idle workers are woken for them.

Dramatiq's consumer asks Redis again and again, with pauses. Here it asks once, then waits at a list in Redis until
there is something to ask for: a turn is taken within a millisecond or two, and an idle worker costs next to nothing.
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

QUEUE = "jobs"
ACTOR = "take_turn"

# Seconds that an idle worker waits before it asks all the same; this is also how often it gives a sign of life.
LONGEST_WAIT = 1.0

# Seconds in which a consumer notices that Dramatiq has stopped.
STOPPING_PAUSE = 0.02

# Of a million commands, so many look for what dead workers held; each worker gives about two a second.
MAINTENANCE_CHANCE = 100_000


class TurnBroker(RedisBroker):
    """Dramatiq's broker, with consumers that are woken.

    Args:
        client: of the Redis that all share.
        cluster: how long a worker may be silent.
        worker: the id of the worker in this process; "" where there is none.
        before_waiting: called each time that there is nothing to do.
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
            # None of the usual middleware: it would limit a job's time and try failed ones again, in ways of its own.
            middleware=[],
            namespace="sd:turns-of-dramatiq",
            maintenance_chance=MAINTENANCE_CHANCE,
            heartbeat_timeout=cluster.worker_timeout * 1000,
        )
        self._worker = worker
        self._before_waiting = before_waiting
        self._consumers: list[_WokenConsumer] = []

    def give_turn(self, worker: str | None = None) -> None:
        """Let some worker take a turn.

        Args:
            worker: the one to wake; None for any that is idle.
        """
        self.enqueue(dramatiq.Message(queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={}, options={}))
        self.wake(worker)

    def wake(self, worker: str | None) -> None:
        """Have an idle worker ask for a turn."""
        bell = _bell(worker)
        with self.client.pipeline() as pipeline:
            pipeline.rpush(bell, 1)
            # What nobody was idle for is nothing to be woken by later.
            pipeline.expire(bell, 2)
            pipeline.execute()

    def stop_waiting(self) -> None:
        """Have this process's worker wait for nothing more, because it shall stop."""
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
        bells = [_bell(self._worker), _bell(None)] if queue_name == QUEUE else []
        woken = _WokenConsumer(consumer, prefetch, self.client, bells, self._before_waiting)
        self._consumers.append(woken)
        return woken


class _WokenConsumer(dramatiq.Consumer):
    def __init__(
        self,
        consumer: Any,
        prefetch: int,
        client: redis.Redis,
        bells: list[str],
        before_waiting: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._prefetch = prefetch
        self._client = client
        self._bells = bells
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
            self._done.wait(LONGEST_WAIT)
            self._done.clear()
            return None
        try:
            message = next(self._consumer)
            if message is None:
                self._wait()
        except redis.RedisError as error:
            # Dramatiq knows this one, and comes back after a pause.
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        return message

    def _wait(self) -> None:
        if not self._bells:
            # The queue of delayed messages, which are never sent; asking it keeps the worker's heart beating.
            self._done.wait(LONGEST_WAIT)
            return
        self._before_waiting()
        self._client.blpop(self._bells, timeout=LONGEST_WAIT)


def _bell(worker: str | None) -> str:
    return f"sd:bell:{worker}" if worker else "sd:bell"
