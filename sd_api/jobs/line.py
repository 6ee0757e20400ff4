"""What waits, jobs above all: clients take turns, and each client's jobs keep their order."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What can stand in the line."""

    @property
    def client(self) -> str:
        """Whose turn it takes."""


Member = TypeVar("Member", bound=Waiting)


class WaitingLine(Generic[Member]):
    """Not for several threads at once: the queue locks around it."""

    def __init__(self) -> None:
        # In the order of the clients' turns.
        self._by_client: OrderedDict[str, deque[Member]] = OrderedDict()
        self._served: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self._by_client.values()))

    def __iter__(self) -> Iterator[Member]:
        """The jobs in the order in which they will be taken."""
        lines = list(self._by_client.values())
        for turn in range(max(map(len, lines), default=0)):
            yield from (line[turn] for line in lines if turn < len(line))

    def count(self, client: str) -> int:
        """How many of a client's jobs wait."""
        return len(self._by_client.get(client, ()))

    def add(self, job: Member) -> None:
        """Put a job behind the others of its client."""
        newcomer = job.client not in self._by_client
        self._by_client.setdefault(job.client, deque()).append(job)
        if newcomer and self._served is not None and self._served in self._by_client:
            # Whoever had the last turn comes after everybody, newcomers too.
            self._by_client.move_to_end(self._served)

    def take(self) -> Member:
        """The next job; its client's next turn comes after everybody else's."""
        client, line = next(iter(self._by_client.items()))
        job = line.popleft()
        self._by_client.move_to_end(client)
        self._served = client
        self._drop_if_empty(client)
        return job

    def remove(self, job: Member) -> None:
        """Take a job out, wherever it is; the turns stay as they are."""
        self._by_client[job.client].remove(job)
        self._drop_if_empty(job.client)

    def _drop_if_empty(self, client: str) -> None:
        if not self._by_client[client]:
            del self._by_client[client]
