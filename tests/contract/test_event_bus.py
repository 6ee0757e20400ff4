"""What every EventBus promises; each implementation is put through the same tests."""

import queue
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sample_tasks import make_task

from sd_api.storage.protocols import Event
from sd_api.stores import Stores
from sd_api.tasks.journal import Journal


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self, stores: Stores, owner: str = "user:a") -> None:
        self._heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.leave = stores.event_bus.subscribe(owner, self._heard.put)

    def next(self) -> Event:
        return self._heard.get(timeout=10)

    def silent(self) -> bool:
        return self._heard.empty()


@pytest.fixture
def journal(stores: Stores) -> Journal:
    return Journal(stores.tasks, stores.event_bus)


def test_what_is_kept_is_published_to_its_owner_alone(stores: Stores, journal: Journal) -> None:
    ears, other = [Ear(stores), Ear(stores)], Ear(stores, "user:b")
    task = make_task()
    journal.accept(task)
    journal.record(task, "started")
    journal.record(task, "cancelled", {"reason": "Zoë said so. 🎨"})
    kept = stores.tasks.events_since("user:a", 0, limit=10)
    for ear in ears:
        assert [ear.next() for _ in range(3)] == kept
    journal.accept(make_task("2", "user:b"))
    assert other.next().task_id == "2"
    assert all(ear.silent() for ear in ears)


def test_what_is_not_kept_is_published_too(stores: Stores) -> None:
    ear = Ear(stores)
    event = Event(None, "1", "user:a", {"event_type": "progress", "step": 1, "phase": "Zoë 🎨"})
    deadline = time.monotonic() + 10
    # Who has just begun to listen may miss the first ones.
    while ear.silent() and time.monotonic() < deadline:
        stores.event_bus.publish(event)
        time.sleep(0.01)
    assert ear.next() == event


def test_who_leaves_hears_no_more(stores: Stores, journal: Journal) -> None:
    assert not stores.event_bus.has_listeners("user:a")
    gone, stays = Ear(stores), Ear(stores)
    assert stores.event_bus.has_listeners("user:a")
    gone.leave()
    assert stores.event_bus.has_listeners("user:a")
    journal.accept(make_task())
    assert stays.next().task_id == "1"
    assert gone.silent()
    stays.leave()


def test_events_come_in_the_order_of_their_ids(stores: Stores, journal: Journal) -> None:
    ear = Ear(stores)
    tasks = [make_task(str(number)) for number in range(10)]

    def live(number: int) -> None:
        journal.accept(tasks[number])
        journal.record(tasks[number], "started")
        journal.record(tasks[number], "cancelled", {"reason": "Enough."})

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(live, range(10)))
    heard = [ear.next() for _ in range(30)]
    assert heard == stores.tasks.events_since("user:a", 0, limit=100)
    assert ear.silent()


def test_a_listener_that_fails_keeps_nobody_from_hearing(stores: Stores, journal: Journal) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    stores.event_bus.subscribe("user:a", fail)
    ear = Ear(stores)
    journal.accept(make_task())
    assert ear.next().task_id == "1"
