"""What all TaskTurns promise; each implementation is put through the same tests."""

import queue
from collections.abc import Callable, Iterator, Sequence

import pytest
from kept_tasks import make_task, said
from stores import Stores

from sd_api.storage.protocols import Task
from sd_api.tasks.turns import TaskTurns


class Carrier:
    """A process that carries tasks, as far as turns are concerned."""

    def __init__(self, stores: Stores, turns: TaskTurns) -> None:
        self.turns = turns
        self.left: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._stores = stores
        turns.start(self._take_up)

    def _take_up(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if task.state == "pending":
                self.turns.add(task)
            else:
                self.left.put(task)

    def add(self, *tasks: Task) -> None:
        for task in tasks:
            self._stores.tasks.add(task, said("pending"))
            self.turns.add(task)

    def take(self, in_queue: int = 0) -> str | None:
        """The id of the task whose turn it is, taken."""
        if (task := self.turns.next(in_queue)) is None:
            return None
        self.turns.take()
        return task.id

    def take_all(self) -> list[str | None]:
        return list(iter(self.take, None))


Start = Callable[..., Carrier]


@pytest.fixture
def start(stores: Stores) -> Iterator[Start]:
    started: list[Carrier] = []

    def start(ahead: int = 10) -> Carrier:
        started.append(Carrier(stores, stores.make_turns(ahead)))
        return started[-1]

    yield start
    for carrier in started:
        carrier.turns.stop()


def test_an_owners_tasks_come_in_order(start: Start) -> None:
    carrier = start()
    assert carrier.take() is None
    carrier.add(*(make_task(str(number)) for number in range(3)))
    assert carrier.take_all() == ["0", "1", "2"]


def test_the_next_stays_the_same_until_it_is_taken(start: Start) -> None:
    carrier = start()
    carrier.add(make_task("1"), make_task("2"))
    assert carrier.turns.next(0) == carrier.turns.next(0)
    assert carrier.take() == "1"
    assert carrier.take() == "2"


def test_owners_take_turns(start: Start) -> None:
    carrier = start()
    carrier.add(*(make_task(f"a{number}", "user:a") for number in range(3)))
    carrier.add(*(make_task(f"b{number}", "user:b") for number in range(2)))
    assert [carrier.take() for _ in range(3)] == ["a0", "b0", "a1"]
    # A newcomer's first turn comes before another one of who had the last.
    carrier.add(make_task("c0", "user:c"))
    assert carrier.take_all() == ["b1", "c0", "a2"]


def test_only_so_many_are_on_their_way(start: Start, stores: Stores) -> None:
    carrier = start(ahead=2)
    tasks = [make_task(str(number)) for number in range(4)]
    carrier.add(*tasks)
    assert [carrier.take(0), carrier.take(1), carrier.take(2)] == ["0", "1", None]
    stores.tasks.record(tasks[0], "started", said("started"))
    stores.tasks.record(tasks[0], "finished", said("finished"))
    assert [carrier.take(1), carrier.take(2)] == ["2", None]


def test_what_is_put_back_comes_again(start: Start, stores: Stores) -> None:
    carrier = start()
    task = make_task()
    carrier.add(task)
    assert carrier.take() == "1"
    stores.tasks.record(task, "started", said("started"))
    assert stores.tasks.record(task, "pending", said("pending"))
    carrier.turns.add(task)
    assert carrier.take_all() == ["1"]


def test_the_next_carrier_has_what_the_one_before_left(start: Start, stores: Stores) -> None:
    first = start()
    tasks = [make_task(str(number)) for number in range(5)]
    first.add(*tasks)
    assert [first.take() for _ in range(3)] == ["0", "1", "2"]
    for number in (0, 1):
        stores.tasks.record(tasks[number], "started", said("started"))
    stores.tasks.record(tasks[0], "finished", said("finished"))
    first.turns.stop()
    second = start()
    left = second.left.get(timeout=10)
    assert (left.id, left.state) == ("1", "started")
    # What had been taken and not begun waits again, before what came later.
    assert second.take_all() == ["2", "3", "4"]
    assert second.left.empty()
