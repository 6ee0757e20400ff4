"""Events across processes, whatever happens to Redis."""

import queue
from collections.abc import Callable

import pytest
from redis_server import RedisServer
from sample_tasks import make_task, sample_event

from sd_api.storage.protocols import Event
from sd_api.stores import Stores
from sd_api.tasks.cluster import event_bus as redis_event_bus

OpenStores = Callable[..., Stores]


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self, stores: Stores, owner: str = "user:a") -> None:
        self._heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.leave = stores.event_bus.subscribe(owner, self._heard.put)

    def next(self) -> Event:
        return self._heard.get(timeout=20)

    def silent(self) -> bool:
        return self._heard.empty()


def test_what_happens_in_one_process_is_heard_in_all(open_stores: OpenStores) -> None:
    first, second = open_stores(), open_stores()
    ears, other = [Ear(first), Ear(second)], Ear(second, "user:b")
    stored = first.tasks.add(make_task("1"), sample_event("pending"))
    published = [stored, second.tasks.record(make_task("1"), "started", {"a": 1})]
    for ear in ears:
        assert [ear.next(), ear.next()] == published
    assert other.silent()


def test_all_hear_one_order_whoever_tells(open_stores: OpenStores) -> None:
    processes = [open_stores() for _ in range(3)]
    ears = [Ear(stores) for stores in processes]
    for number in range(60):
        processes[number % 3].tasks.add(make_task(str(number)), sample_event("pending"))
    kept = processes[0].tasks.events_since("user:a", 0, limit=100)
    assert len(kept) == 60
    for ear in ears:
        assert [ear.next() for _ in kept] == kept


def test_progress_crosses_processes_while_somebody_listens(open_stores: OpenStores) -> None:
    here, there = open_stores(), open_stores()
    assert not there.event_bus.has_listeners("user:a")
    ear = Ear(here)
    while not there.event_bus.has_listeners("user:a"):
        pass
    event = Event(None, "1", "user:a", {"event_type": "progress", "step": 3})
    there.event_bus.publish(event)
    assert ear.next() == event
    ear.leave()
    while there.event_bus.has_listeners("user:a"):
        pass


def test_a_restart_of_redis_costs_no_event(open_stores: OpenStores, redis_server: RedisServer) -> None:
    here, there = open_stores(), open_stores()
    ear = Ear(here)
    published = [there.tasks.add(make_task("0"), sample_event("pending"))]
    assert ear.next() == published[0]
    for restart in range(2):
        redis_server.kill()
        redis_server.start()
        # Some of these are kept before the one who listens is connected again.
        published += [
            there.tasks.add(make_task(f"{restart}-{number}"), sample_event("pending")) for number in range(20)
        ]
    assert [ear.next() for _ in published[1:]] == published[1:]
    assert ear.silent()


def test_a_connection_without_a_sign_of_life_is_made_anew(
    open_stores: OpenStores, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_event_bus, "HEARTBEAT_TIMEOUT", 0.5)
    monkeypatch.setattr(redis_event_bus, "HEARTBEAT_INTERVAL", 10.0)
    stores = open_stores()
    ear = Ear(stores)
    with redis_server.client() as client:
        before = {row["id"] for row in client.client_list(_type="pubsub")}
        while {row["id"] for row in client.client_list(_type="pubsub")} <= before:
            pass
    event = stores.tasks.add(make_task(), sample_event("pending"))
    assert ear.next() == event
