"""Tells of events in every process, whichever they happened in."""

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from sd_api.cluster.connection import redis_faults_as_ours
from sd_api.errors import StoreUnavailable
from sd_api.storage.protocols import Event, TaskStore
from sd_api.tasks.announcements import EventListener, LocalAnnouncements
from sd_api.tasks.events import events_after

log = logging.getLogger(__name__)

# All events that are kept, which Redis tells of when it keeps them; and the progress of one owner's tasks.
EVENTS = "sd:store:events"
PROGRESS = "sd:store:progress:"

# Seconds after which who has begun to listen hears of progress, at most.
ATTENTION = 0.1

# Seconds between signs of life, and without any after which the connection counts as broken.
HEARTBEAT, SILENCE = 5.0, 15.0

# Seconds that the end of this may take.
PATIENCE = 1.0

# Seconds between two attempts to connect.
PAUSE = 0.2


class RedisAnnouncements:
    """See Announcements. A connection that breaks costs no event: what was missed is read where it is kept.

    Args:
        client: for commands.
        subscriber: for the connection that listens; it must not try again by itself.
        tasks: where events are kept.
    """

    def __init__(self, client: redis.Redis, subscriber: redis.Redis, tasks: TaskStore) -> None:
        self._client = client
        self._subscriber = subscriber
        self._tasks = tasks
        self._here = LocalAnnouncements()
        # The id of the last event that was told; None before Redis was reached.
        self._last: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="announcements", daemon=True)

    def start(self) -> None:
        """Begin to hear what happens in other processes."""
        # Before anybody listens, so that nothing is missed while the connection is made.
        with suppress(StoreUnavailable):
            self._last = self._last_kept()
        self._thread.start()

    def stop(self) -> None:
        """End, soon."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def listen(self, owner: str, listener: EventListener) -> Callable[[], None]:
        """See Announcements."""
        return self._here.listen(owner, listener)

    @redis_faults_as_ours()
    def anybody(self, owner: str) -> bool:
        """See Announcements."""
        if self._here.anybody(owner):
            return True
        ((_, listening),) = self._client.pubsub_numsub(PROGRESS + owner)
        return bool(listening)

    @redis_faults_as_ours()
    def announce(self, event: Event) -> None:
        """See Announcements."""
        # What is kept was told when it was kept.
        if event.id is None:
            self._client.publish(PROGRESS + event.owner, f"{event.task_id} {json.dumps(dict(event.content))}")

    @redis_faults_as_ours()
    def _last_kept(self) -> int:
        return int(self._client.hget("sd:store:numbers", "event") or 0)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                log.warning("The connection that tells of events is made anew: %s", error)
                self._stopping.wait(PAUSE)
            except Exception:
                # Whoever listens would never hear of anything again.
                log.exception("Events could not be told")
                self._stopping.wait(PAUSE)

    def _hear(self) -> None:
        """Take what one connection brings, until it breaks."""
        with self._subscriber.pubsub() as connection:  # type: ignore[no-untyped-call]
            connection.subscribe(EVENTS)
            attended: set[str] = set()
            last_sign = asked = time.monotonic()
            while not self._stopping.is_set():
                wanted = self._here.owners()
                if new := wanted - attended:
                    connection.subscribe(*(PROGRESS + owner for owner in new))
                if gone := attended - wanted:
                    connection.unsubscribe(*(PROGRESS + owner for owner in gone))
                attended = wanted
                message = connection.get_message(timeout=ATTENTION)
                now = time.monotonic()
                if message is not None:
                    last_sign = now
                    self._take(message["type"], message["channel"], message["data"])
                elif now - last_sign > SILENCE:
                    raise redis.ConnectionError("no sign of life")
                elif now - asked > HEARTBEAT:
                    asked = now
                    connection.ping()

    def _take(self, kind: str, channel: bytes | None, data: bytes) -> None:
        if channel == EVENTS.encode():
            if kind == "subscribe":
                self._catch_up()
            elif kind == "message":
                event_id, owner, task_id, content = data.decode().split(" ", 3)
                self._tell_kept(int(event_id), owner, task_id, content)
        elif kind == "message" and channel is not None:
            task_id, content = data.decode().split(" ", 1)
            owner = channel.decode().removeprefix(PROGRESS)
            self._here.announce(Event(None, task_id, owner, json.loads(content)))

    def _tell_kept(self, event_id: int, owner: str, task_id: str, content: str) -> None:
        if self._last is not None and event_id <= self._last:
            # It was kept before the subscription began, and has been read.
            return
        self._last = event_id
        if self._here.anybody(owner):
            self._here.announce(Event(event_id, task_id, owner, json.loads(content)))

    def _catch_up(self) -> None:
        """Tell what happened while there was no connection; what happens from now on comes through it."""
        last = self._last_kept()
        since = last if self._last is None else self._last
        for owner in self._here.owners():
            for page in events_after(self._tasks, owner, since):
                for event in page:
                    if event.id is not None and event.id <= last:
                        self._here.announce(event)
        self._last = last
