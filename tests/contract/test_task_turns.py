"""What all TaskTurns promise; each implementation is put through the same tests."""

import queue
from collections.abc import Callable, Iterator, Sequence

import pytest
from kept_tasks import make_task, said
from stores import OpenAgain

from sd_api.storage.protocols import Task
from sd_api.stores import Stores


class Carrier:
    """A process that carries tasks, as far as turns are concerned."""

    def __init__(self, stores: Stores) -> None:
        self.left: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.stores = stores
        self.turns = stores.turns
        self.turns.start(self._take_up)

    def _take_up(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if task.state == "pending":
                self.turns.add(task)
            else:
                self.left.put(task)

    def add(self, *tasks: Task) -> None:
        for task in tasks:
            self.stores.tasks.add(task, said("pending"))
            self.turns.add(task)

    def take(self, in_queue: int = 0) -> str | None:
        """The id of the task whose turn it is, taken."""
        if (task := self.turns.next(in_queue)) is None:
            return None
        self.turns.take()
        return task.id

    def end(self, task_id: str) -> None:
        """Have a task begin and end, so that another one may be taken."""
        for state in ("started", "finished"):
            self.stores.tasks.record(make_task(task_id), state, said(state))

    def take_all(self) -> list[str | None]:
        """All that wait, one after the other."""
        return list(iter(self.take_and_end, None))

    def take_and_end(self) -> str | None:
        if (task_id := self.take()) is not None:
            self.end(task_id)
        return task_id


Start = Callable[[], Carrier]


@pytest.fixture
def start(open_again: OpenAgain) -> Iterator[Start]:
    started: list[Carrier] = []

    def start() -> Carrier:
        """Another process, after the one before."""
        started.append(Carrier(open_again()))
        return started[-1]

    yield start
    started[-1].turns.stop()


@pytest.fixture
def carrier(start: Start) -> Carrier:
    return start()


def test_an_owners_tasks_come_in_order(carrier: Carrier) -> None:
    assert carrier.take() is None
    carrier.add(*(make_task(str(number)) for number in range(3)))
    assert carrier.take_all() == ["0", "1", "2"]


def test_the_next_stays_the_same_until_it_is_taken(carrier: Carrier) -> None:
    carrier.add(make_task("1"), make_task("2"))
    assert carrier.turns.next(0) == carrier.turns.next(0)
    assert carrier.take() == "1"
    assert carrier.take() == "2"


def test_owners_take_turns(carrier: Carrier) -> None:
    carrier.add(*(make_task(f"a{number}", "user:a") for number in range(3)))
    carrier.add(*(make_task(f"b{number}", "user:b") for number in range(2)))
    assert [carrier.take_and_end() for _ in range(3)] == ["a0", "b0", "a1"]
    # A newcomer's first turn comes before another one of who had the last.
    carrier.add(make_task("c0", "user:c"))
    assert carrier.take_all() == ["b1", "c0", "a2"]


def test_only_so_many_are_on_their_way(carrier: Carrier) -> None:
    carrier.add(*(make_task(str(number)) for number in range(4)))
    assert [carrier.take(0), carrier.take(1), carrier.take(2)] == ["0", "1", None]
    carrier.end("0")
    assert [carrier.take(1), carrier.take(2)] == ["2", None]


def test_what_is_put_back_comes_again(carrier: Carrier) -> None:
    task = make_task()
    carrier.add(task)
    assert carrier.take() == "1"
    carrier.stores.tasks.record(task, "started", said("started"))
    assert carrier.stores.tasks.record(task, "pending", said("pending"))
    carrier.turns.add(task)
    assert carrier.take_all() == ["1"]


def test_the_next_process_has_what_the_one_before_left(start: Start) -> None:
    first = start()
    first.add(*(make_task(str(number)) for number in range(5)))
    assert first.take() == "0"
    first.end("0")
    assert [first.take(), first.take()] == ["1", "2"]
    first.stores.tasks.record(make_task("1"), "started", said("started"))
    first.turns.stop()
    second = start()
    left = second.left.get(timeout=10)
    assert (left.id, left.state) == ("1", "started")
    # What had been taken and not begun waits again, before what came later.
    assert second.take_all() == ["2", "3", "4"]
    assert second.left.empty()
