"""The event bus of a cluster: events reach the listeners of all processes, through Redis."""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import redis

from sd_api.cluster.connection import translate_redis_errors
from sd_api.errors import StoreUnavailable
from sd_api.storage.protocols import Event, TaskStore
from sd_api.tasks.event_bus import EventListener, LocalEventBus
from sd_api.tasks.events import events_after

log = logging.getLogger(__name__)

# The channel of all stored events, which the script that stores an event publishes; and the prefix of the channels with
# the progress of one owner's tasks.
EVENTS = "sd:store:events"
PROGRESS = "sd:store:progress:"

# Seconds until a new listener gets progress, at most.
SUBSCRIBE_INTERVAL = 0.1

# Seconds between two counts of the listeners at all processes, and for which a channel that was asked for is counted.
COUNT_INTERVAL, COUNT_MEMORY = 1.0, 10.0

# Seconds between two heartbeats, and without any answer after which the connection counts as broken.
HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT = 5.0, 15.0

# Seconds to wait for the thread when the process stops.
STOP_TIMEOUT = 1.0

# Seconds between two attempts to connect.
RETRY_PAUSE = 0.2


class RedisEventBus:
    """An EventBus across processes. A broken connection loses no stored event: missed ones are read from the store.

    Args:
        client: the connection for commands.
        subscriber: the connection for subscriptions; its commands must not be tried again.
        tasks: where events are stored.
    """

    def __init__(self, client: redis.Redis, subscriber: redis.Redis, tasks: TaskStore) -> None:
        self._client = client
        self._subscriber = subscriber
        self._tasks = tasks
        self._local = LocalEventBus()
        # The channels that were asked for: when, and whether they had listeners at any process.
        self._asked: dict[str, float] = {}
        self._heard: dict[str, bool] = {}
        # The id of the last event that reached this process; None before Redis was reached.
        self._last_id: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="event bus", daemon=True)

    def start(self) -> None:
        """Begin to receive the events of all processes."""
        # Read before there are listeners, so that they miss nothing while the connection is made.
        with suppress(StoreUnavailable):
            self._last_id = self._last_stored_id()
        self._thread.start()

    def stop(self) -> None:
        """Stop receiving; returns after ``STOP_TIMEOUT`` at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT)

    def subscribe(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """See EventBus."""
        return self._local.subscribe(owner, listener)

    @translate_redis_errors()
    def has_listeners(self, owner: str) -> bool:
        """See EventBus."""
        if self._local.has_listeners(owner):
            return True
        self._asked[owner] = time.monotonic()
        if owner not in self._heard:
            self._count_listeners([owner])
        return self._heard.get(owner, False)

    @translate_redis_errors()
    def publish(self, event: Event) -> None:
        """See EventBus."""
        # A stored event has been published by the script that stored it.
        if event.id is None:
            self._client.publish(PROGRESS + event.owner, f"{event.task_id} {json.dumps(dict(event.content))}")

    def _count_listeners(self, owners: Sequence[str]) -> None:
        counts = self._client.pubsub_numsub(*(PROGRESS + owner for owner in owners))
        for owner, (_, count) in zip(owners, counts, strict=True):
            self._heard[owner] = bool(count)

    @translate_redis_errors()
    def _count_again(self) -> None:
        """Count the listeners of the channels that were asked for lately, and forget the others."""
        oldest = time.monotonic() - COUNT_MEMORY
        for owner in [owner for owner, asked in list(self._asked.items()) if asked < oldest]:
            self._heard.pop(owner, None)
            del self._asked[owner]
        if owners := list(self._asked):
            self._count_listeners(owners)

    @translate_redis_errors()
    def _last_stored_id(self) -> int:
        return int(self._client.hget("sd:store:numbers", "event") or 0)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._receive()
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                log.warning("The connection for events is made anew: %s", error)
                self._stopping.wait(RETRY_PAUSE)
            except Exception:
                # Without this thread, no listener would get an event again.
                log.exception("Events could not be received")
                self._stopping.wait(RETRY_PAUSE)

    def _receive(self) -> None:
        """Pass on the messages of one connection, until it breaks."""
        with self._subscriber.pubsub() as connection:  # type: ignore[no-untyped-call]
            connection.subscribe(EVENTS)
            subscribed: set[str] = set()
            last_message = last_ping = last_count = time.monotonic()
            while not self._stopping.is_set():
                wanted = self._local.owners()
                if new := wanted - subscribed:
                    connection.subscribe(*(PROGRESS + owner for owner in new))
                if gone := subscribed - wanted:
                    connection.unsubscribe(*(PROGRESS + owner for owner in gone))
                subscribed = wanted
                message = connection.get_message(timeout=SUBSCRIBE_INTERVAL)
                now = time.monotonic()
                if now - last_count > COUNT_INTERVAL:
                    last_count = now
                    self._count_again()
                if message is not None:
                    last_message = now
                    self._handle(message["type"], message["channel"], message["data"])
                elif now - last_message > HEARTBEAT_TIMEOUT:
                    raise redis.ConnectionError("no answer to heartbeats")
                elif now - last_ping > HEARTBEAT_INTERVAL:
                    last_ping = now
                    connection.ping()

    def _handle(self, kind: str, channel: bytes | None, data: bytes) -> None:
        if channel == EVENTS.encode():
            if kind == "subscribe":
                self._catch_up()
            elif kind == "message":
                event_id, owner, task_id, content = data.decode().split(" ", 3)
                self._publish_stored(int(event_id), owner, task_id, content)
        elif kind == "message" and channel is not None:
            task_id, content = data.decode().split(" ", 1)
            owner = channel.decode().removeprefix(PROGRESS)
            self._local.publish(Event(None, task_id, owner, json.loads(content)))

    def _publish_stored(self, event_id: int, owner: str, task_id: str, content: str) -> None:
        if self._last_id is not None and event_id <= self._last_id:
            # The event was stored before the subscription began, and has been read from the store.
            return
        self._last_id = event_id
        if self._local.has_listeners(owner):
            self._local.publish(Event(event_id, task_id, owner, json.loads(content)))

    def _catch_up(self) -> None:
        """Publish the events that were stored while there was no connection; later ones come through it."""
        last = self._last_stored_id()
        since = last if self._last_id is None else self._last_id
        for owner in self._local.owners():
            for page in events_after(self._tasks, owner, since):
                for event in page:
                    if event.id is not None and event.id <= last:
                        self._local.publish(event)
        self._last_id = last
