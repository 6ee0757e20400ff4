"""A fair queue: clients are served round-robin, and so are the programs of each client among themselves."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class HasClient(Protocol):
    """An entry of the queue."""

    @property
    def client(self) -> str:
        """Fair-queue key: entries with the same key share one turn in each round."""

    @property
    def program(self) -> str:
        """Which of the client's programs it comes from; each program's entries keep the order in which they came."""


Entry = TypeVar("Entry", bound=HasClient)


class FairQueue(Generic[Entry]):
    """A round-robin queue over clients. It is not thread-safe: its owner holds a lock around every call."""

    def __init__(self) -> None:
        # The clients in the order in which they will be served.
        self._by_client: OrderedDict[str, deque[Entry]] = OrderedDict()
        self._last_served: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self._by_client.values()))

    def __iter__(self) -> Iterator[Entry]:
        """The entries in the order in which ``take`` will return them."""
        queues = list(self._by_client.values())
        for round_ in range(max(map(len, queues), default=0)):
            yield from (queue[round_] for queue in queues if round_ < len(queue))

    def of(self, client: str) -> Sequence[Entry]:
        """The entries of one client, in the order in which ``take`` will return them."""
        return self._by_client.get(client, ())

    def add(self, entry: Entry) -> None:
        """Add an entry to its client's own queue."""
        is_new_client = entry.client not in self._by_client
        queue = self._by_client.setdefault(entry.client, deque())
        queue.insert(_place(queue, entry.program), entry)
        if is_new_client and self._last_served is not None and self._last_served in self._by_client:
            # The client that was served last comes after all others, new clients included.
            self._by_client.move_to_end(self._last_served)

    def take(self) -> Entry:
        """Remove and return the next entry; its client is then served after all others."""
        client, queue = next(iter(self._by_client.items()))
        entry = queue.popleft()
        self._by_client.move_to_end(client)
        self._last_served = client
        self._drop_if_empty(client)
        return entry

    def remove(self, entry: Entry) -> None:
        """Remove an entry from any position; the order of the clients does not change."""
        self._by_client[entry.client].remove(entry)
        self._drop_if_empty(entry.client)

    def reorder(self, entries: Sequence[Entry]) -> None:
        """Put entries of one client in this order into the places that they have together; all others stay.

        Args:
            entries: At least one; all are in the queue.
        """
        queue = self._by_client[entries[0].client]
        places = [place for place, entry in enumerate(queue) if entry in entries]
        for place, entry in zip(places, entries, strict=True):
            queue[place] = entry

    def _drop_if_empty(self, client: str) -> None:
        if not self._by_client[client]:
            del self._by_client[client]


def _place(queue: deque[Entry], program: str) -> int:
    """Where a program's next entry belongs: before the entries of a later round, and after the program's own."""
    rounds: Counter[str] = Counter()
    places = []
    for entry in queue:
        rounds[entry.program] += 1
        places.append((entry.program, rounds[entry.program]))
    place = len(queue)
    for index, (other, round_) in reversed(list(enumerate(places))):
        if other == program:
            break
        if round_ > rounds[program] + 1:
            place = index
    return place
