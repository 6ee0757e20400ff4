"""What every TaskQueue promises; each implementation is put through the same tests."""

import queue
from collections.abc import Callable, Iterator, Sequence

import pytest
from sample_tasks import make_task, sample_event
from stores import OpenAgain

from sd_api.storage.protocols import Task
from sd_api.stores import Stores


class Dispatcher:
    """A process that dispatches tasks, as far as the task queue is concerned."""

    def __init__(self, stores: Stores) -> None:
        self.left: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.stores = stores
        self.task_queue = stores.task_queue
        self.task_queue.start(self._recover)

    def _recover(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if task.state == "pending":
                self.task_queue.add(task)
            else:
                self.left.put(task)

    def add(self, *tasks: Task) -> None:
        for task in tasks:
            self.stores.tasks.add(task, sample_event("pending"))
            self.task_queue.add(task)

    def take(self, in_queue: int = 0) -> str | None:
        """The id of the next task, which is taken."""
        if (task := self.task_queue.next(in_queue)) is None:
            return None
        self.task_queue.take()
        return task.id

    def end(self, task_id: str) -> None:
        """Have a task begin and end, so that another one may be taken."""
        for state in ("started", "finished"):
            self.stores.tasks.record(make_task(task_id), state, sample_event(state))

    def take_all(self) -> list[str | None]:
        """All pending tasks, one after the other."""
        return list(iter(self.take_and_end, None))

    def take_and_end(self) -> str | None:
        if (task_id := self.take()) is not None:
            self.end(task_id)
        return task_id


Start = Callable[[], Dispatcher]


@pytest.fixture
def start(open_again: OpenAgain) -> Iterator[Start]:
    started: list[Dispatcher] = []

    def start() -> Dispatcher:
        """Another process, after the one before."""
        started.append(Dispatcher(open_again()))
        return started[-1]

    yield start
    started[-1].task_queue.stop()


@pytest.fixture
def dispatcher(start: Start) -> Dispatcher:
    return start()


def test_an_owners_tasks_come_in_order(dispatcher: Dispatcher) -> None:
    assert dispatcher.take() is None
    dispatcher.add(*(make_task(str(number)) for number in range(3)))
    assert dispatcher.take_all() == ["0", "1", "2"]


def test_the_next_stays_the_same_until_it_is_taken(dispatcher: Dispatcher) -> None:
    dispatcher.add(make_task("1"), make_task("2"))
    assert dispatcher.task_queue.next(0) == dispatcher.task_queue.next(0)
    assert dispatcher.take() == "1"
    assert dispatcher.take() == "2"


def test_owners_are_served_round_robin(dispatcher: Dispatcher) -> None:
    dispatcher.add(*(make_task(f"a{number}", "user:a") for number in range(3)))
    dispatcher.add(*(make_task(f"b{number}", "user:b") for number in range(2)))
    assert [dispatcher.take_and_end() for _ in range(3)] == ["a0", "b0", "a1"]
    # A new owner is served before the one that was served last.
    dispatcher.add(make_task("c0", "user:c"))
    assert dispatcher.take_all() == ["b1", "c0", "a2"]


def test_only_so_many_are_on_their_way(dispatcher: Dispatcher) -> None:
    dispatcher.add(*(make_task(str(number)) for number in range(4)))
    assert [dispatcher.take(0), dispatcher.take(1), dispatcher.take(2)] == ["0", "1", None]
    dispatcher.end("0")
    assert [dispatcher.take(1), dispatcher.take(2)] == ["2", None]


def test_what_is_put_back_comes_again(dispatcher: Dispatcher) -> None:
    task = make_task()
    dispatcher.add(task)
    assert dispatcher.take() == "1"
    dispatcher.stores.tasks.record(task, "started", sample_event("started"))
    assert dispatcher.stores.tasks.record(task, "pending", sample_event("pending"))
    dispatcher.task_queue.add(task)
    assert dispatcher.take_all() == ["1"]


def test_the_next_process_has_what_the_one_before_left(start: Start) -> None:
    first = start()
    first.add(*(make_task(str(number)) for number in range(5)))
    assert first.take() == "0"
    first.end("0")
    assert [first.take(), first.take()] == ["1", "2"]
    first.stores.tasks.record(make_task("1"), "started", sample_event("started"))
    first.task_queue.stop()
    second = start()
    left = second.left.get(timeout=10)
    assert (left.id, left.state) == ("1", "started")
    # What had been taken and not begun waits again, before what came later.
    assert second.take_all() == ["2", "3", "4"]
    assert second.left.empty()
