"""What is kept, and what the rest of the server asks of whatever keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

TaskState = Literal["pending", "started", "finished", "cancelled"]

# What has not ended.
ALIVE: tuple[TaskState, ...] = ("pending", "started")


@dataclass(frozen=True)
class User:
    """Somebody with a password.

    Attributes:
        id: 32 hexadecimal digits, never given twice.
        name: unique; upper and lower case differ.
        password_hash: argon2's own text, with its salt and parameters.
    """

    id: str
    name: str
    password_hash: str


@dataclass(frozen=True)
class Task:
    """A generation that somebody asked for.

    Attributes:
        id: 32 hexadecimal digits.
        owner: whose it is; see ``Identity.owner``.
        parameters: what was asked for, as plain JSON.
        state: where it is; ``finished`` and ``cancelled`` are final.
        created: in seconds since 1970.
    """

    id: str
    owner: str
    parameters: Mapping[str, Any]
    state: TaskState
    created: float


@dataclass(frozen=True)
class Event:
    """Something that happened to a task.

    Attributes:
        id: larger for what happened later, across all tasks; None for what is not kept, such as progress.
        task_id: which task.
        owner: whose task.
        content: what clients are told, as plain JSON, without the ids.
    """

    id: int | None
    task_id: str
    owner: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Blob:
    """An image that somebody sent or had made.

    Attributes:
        id: 32 hexadecimal digits that nobody guesses.
        owner: whose it is.
        sha256: of the content, in hexadecimal digits.
        size: in bytes.
        media_type: for example ``image/png``.
        created: in seconds since 1970, as the next.
        expires: from when on it is not there any more.
    """

    id: str
    owner: str
    sha256: str
    size: int
    media_type: str
    created: float
    expires: float


class UserStore(Protocol):
    """Keeps users."""

    def add(self, user: User) -> None:
        """Keep a new user.

        Raises:
            NameTaken: there is one of that name.
        """

    def find(self, name: str) -> User | None:
        """The user of that name."""


class TaskStore(Protocol):
    """Keeps tasks and their events. What a method has returned from is not lost by any end of the process."""

    def add(self, task: Task, content: Mapping[str, Any]) -> Event:
        """Keep a new task, together with its first event."""

    def record(
        self, task: Task, state: TaskState, content: Mapping[str, Any], images: Sequence[Blob] = ()
    ) -> Event | None:
        """Give a task another state, with the event that says so and the images that came of it, all or nothing.

        Returns:
            The event; None, and nothing has changed, where the task had ended before.
        """

    def task(self, owner: str, task_id: str) -> Task:
        """A task of this owner.

        Raises:
            UnknownTask: there is none, or it is somebody else's.
        """

    def tasks(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """An owner's tasks with their last events, the newest first."""

    def last_event(self, task: Task) -> Event:
        """What was last recorded of a task."""

    def events_since(self, owner: str, event_id: int, *, limit: int) -> list[Event]:
        """The events of an owner's tasks with a larger id, in order."""

    def count_pending(self, owner: str) -> int:
        """How many of an owner's tasks wait."""

    def count_starts(self, task: Task) -> int:
        """How often a task was started."""

    def forget_ended(self, before: float) -> int:
        """Delete the tasks that ended before a time, in seconds since 1970; how many there were."""


class BlobStore(Protocol):
    """Keeps images."""

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """Write an image's content; it is nobody's until ``add`` or ``TaskStore.record`` takes note of it."""

    def add(self, blob: Blob) -> None:
        """Take note of what ``make`` made.

        Raises:
            QuotaExceeded: its owner would have more than may be kept.
        """

    def blob(self, owner: str, blob_id: str) -> Blob:
        """An image of this owner.

        Raises:
            UnknownBlob: there is none, it is somebody else's, or it has expired.
        """

    def read(self, blob: Blob) -> bytes:
        """Its content.

        Raises:
            UnknownBlob: it is not there any more.
        """

    def refuse_full(self, owner: str, more: int = 0) -> None:
        """Raise QuotaExceeded where an owner has no room for so many more bytes."""

    def remove(self, blob: Blob) -> None:
        """Forget an image."""

    def sweep(self) -> int:
        """Delete what has expired and what belongs to nobody; how many files went."""
