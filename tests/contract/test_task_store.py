"""What every TaskStore promises; each implementation is put through the same tests."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sample_tasks import make_task, sample_event

from sd_api.errors import Overloaded, TooManyTasks, UnknownBlob, UnknownTask
from sd_api.owners import public_token
from sd_api.storage.protocols import TaskStore
from sd_api.stores import Stores


def test_a_task_is_its_owners_alone(tasks: TaskStore) -> None:
    task = make_task()
    tasks.add(task, sample_event("pending"))
    assert tasks.task("user:a", "1") == task
    with pytest.raises(UnknownTask):
        tasks.task("user:b", "1")
    with pytest.raises(UnknownTask):
        tasks.task("user:a", "2")
    assert tasks.tasks("user:b", limit=10, offset=0) == []
    assert tasks.events_since("user:b", 0, limit=10) == []


def test_parameters_and_contents_are_kept_as_they_are(tasks: TaskStore) -> None:
    parameters = {"prompt": 'Zoë\'s 🎨 \n\x00 "dog"', "seed": 2**53 - 1, "guidance": 7.25, "model_id": None, "x": {}}
    task = make_task(parameters=parameters)
    event = tasks.add(task, sample_event("pending") | {"parameters": parameters})
    assert tasks.task("user:a", "1") == task
    assert tasks.last_event(task) == event
    assert tasks.events_since("user:a", 0, limit=10) == [event]


def test_a_task_ends_once_and_nothing_is_left_of_a_second_end(stores: Stores) -> None:
    task = make_task()
    stores.tasks.add(task, sample_event("pending"))
    assert stores.tasks.record(task, "started", sample_event("started"))
    first, second = (stores.blobs.make("user:a", content, "image/png") for content in (b"1", b"2"))
    assert stores.tasks.record(task, "finished", sample_event("finished"), [first])
    assert stores.tasks.record(task, "finished", sample_event("finished"), [second]) is None
    assert stores.tasks.record(task, "cancelled", sample_event("cancelled")) is None
    assert stores.tasks.record(task, "started", sample_event("started")) is None
    kinds = [event.content["event_type"] for event in stores.tasks.events_since("user:a", 0, limit=10)]
    assert kinds == ["pending", "started", "finished"]
    assert stores.blobs.read(stores.blobs.blob("user:a", first.id)) == b"1"
    with pytest.raises(UnknownBlob):
        stores.blobs.blob("user:a", second.id)


def test_a_task_that_never_was_cannot_end(tasks: TaskStore) -> None:
    assert tasks.record(make_task(), "finished", sample_event("finished")) is None
    assert tasks.events_since("user:a", 0, limit=10) == []


def test_of_many_ends_at_once_one_counts(tasks: TaskStore) -> None:
    task = make_task()
    tasks.add(task, sample_event("pending"))
    with ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(lambda number: tasks.record(task, "cancelled", {"number": number}), range(8)))
    (event,) = (event for event in ends if event is not None)
    assert tasks.last_event(task) == event


def test_tasks_come_newest_first_with_their_last_event(tasks: TaskStore) -> None:
    for number in range(5):
        tasks.add(make_task(str(number)), sample_event("pending"))
    tasks.record(make_task("3"), "started", sample_event("started"))
    page = tasks.tasks("user:a", limit=2, offset=1)
    assert [(task.id, task.state, event.content["event_type"]) for task, event in page] == [
        ("3", "started", "started"),
        ("2", "pending", "pending"),
    ]
    assert [task.id for task, _ in tasks.tasks("user:a", limit=10, offset=4)] == ["0"]
    assert tasks.tasks("user:a", limit=10, offset=5) == []
    assert tasks.count_starts(make_task("3")) == 1
    tasks.record(make_task("3"), "pending", sample_event("pending"))
    assert tasks.count_starts(make_task("3")) == 1


def fill(tasks: TaskStore, owner: str, number: int) -> int:
    """Add tasks at the same time; how many of them were taken."""

    def add(number: int) -> bool:
        try:
            tasks.add(make_task(f"{owner} {number}", owner), sample_event("pending"))
        except (TooManyTasks, Overloaded):
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(add, range(number)))


def test_no_client_has_more_pending_tasks_than_allowed(tasks: TaskStore) -> None:
    assert fill(tasks, "user:a", 20) == 16
    with pytest.raises(TooManyTasks, match="16 of your tasks are waiting") as refusal:
        tasks.check_room("user:a")
    assert refusal.value.retry_after is not None
    tasks.check_room("user:b")
    first, _ = tasks.tasks("user:a", limit=1, offset=0)[0]
    tasks.record(first, "started", sample_event("started"))
    tasks.check_room("user:a")
    tasks.record(first, "pending", sample_event("pending"))
    with pytest.raises(TooManyTasks):
        tasks.check_room("user:a")


def test_public_tokens_count_for_their_address_and_all_of_them_together(tasks: TaskStore) -> None:
    assert fill(tasks, public_token("10.0.0.1", "a"), 10) == 10
    assert fill(tasks, public_token("10.0.0.1", "b"), 10) == 6
    with pytest.raises(TooManyTasks):
        tasks.check_room(public_token("10.0.0.1", "c"))
    assert fill(tasks, public_token("10.0.0.2", "a"), 10) == 2
    with pytest.raises(Overloaded, match="18 tasks of public tokens are waiting") as refusal:
        tasks.check_room(public_token("10.0.0.3", "a"))
    assert refusal.value.retry_after is not None
    assert fill(tasks, "user:a", 16) == 16
    assert fill(tasks, "user:b", 16) == 10
    with pytest.raises(Overloaded, match="44 tasks are waiting"):
        tasks.check_room("user:c")


def test_events_after_one_that_is_known(tasks: TaskStore) -> None:
    events = [tasks.add(make_task(str(number)), sample_event("pending")) for number in range(4)]
    tasks.add(make_task("of another", "user:b"), sample_event("pending"))
    known = events[1].id
    assert known is not None
    assert tasks.events_since("user:a", known, limit=10) == events[2:]
    assert tasks.events_since("user:a", known, limit=1) == events[2:3]
    # The largest that a client may send.
    assert tasks.events_since("user:a", 10**18 - 1, limit=10) == []


def test_ids_grow_across_owners_and_threads(tasks: TaskStore) -> None:
    def add(number: int) -> int:
        event = tasks.add(make_task(str(number), f"user:{number % 3}"), sample_event("pending"))
        assert event.id is not None
        return event.id

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(add, range(40)))
    assert len(set(ids)) == 40
    for owner in range(3):
        listed = [event.id for event in tasks.events_since(f"user:{owner}", 0, limit=100)]
        assert listed == sorted(ids[owner::3])


def test_ended_tasks_are_forgotten_and_their_ids_not_given_again(tasks: TaskStore) -> None:
    for number in ("1", "2"):
        tasks.add(make_task(number), sample_event("pending"))
    last = tasks.record(make_task("2"), "cancelled", sample_event("cancelled"))
    assert tasks.delete_ended(time.time() - 10) == 0
    assert tasks.delete_ended(time.time() + 1) == 1
    assert [task.id for task, _ in tasks.tasks("user:a", limit=10, offset=0)] == ["1"]
    assert [event.task_id for event in tasks.events_since("user:a", 0, limit=10)] == ["1"]
    with pytest.raises(UnknownTask):
        tasks.task("user:a", "2")
    later = tasks.add(make_task("3"), sample_event("pending"))
    assert last is not None
    assert last.id is not None
    assert later.id == last.id + 1
