"""The stored values, and the protocols of their stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

TaskState = Literal["pending", "started", "finished", "cancelled"]

# The states of tasks that have not ended.
UNFINISHED: tuple[TaskState, ...] = ("pending", "started")


@dataclass(frozen=True)
class User:
    """A user, who has a password.

    Attributes:
        id: 32 hexadecimal digits, unique over time.
        name: unique; names that differ in case only are one, see ``storage.names``.
        password_hash: in argon2's encoded form, with its salt and parameters.
    """

    id: str
    name: str
    password_hash: str


@dataclass(frozen=True)
class Task:
    """A generation that an owner has asked for.

    Attributes:
        id: 32 hexadecimal digits.
        owner: see ``Identity.owner``.
        parameters: its parameters, as plain JSON.
        state: ``finished`` and ``cancelled`` are final.
        created: when it was accepted, in seconds since 1970.
    """

    id: str
    owner: str
    parameters: Mapping[str, Any]
    state: TaskState
    created: float


@dataclass(frozen=True)
class Event:
    """A change of a task.

    Attributes:
        id: increases over time, across all tasks; None for an event that is not stored, such as progress.
        task_id: the id of the task.
        owner: the owner of the task.
        content: the content that clients get, as plain JSON, without the ids.
    """

    id: int | None
    task_id: str
    owner: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Blob:
    """A stored image, uploaded or generated.

    Attributes:
        id: 32 random hexadecimal digits.
        owner: see ``Identity.owner``.
        sha256: the hash of the content, in hexadecimal digits.
        size: in bytes.
        media_type: for example ``image/png``.
        created: when it was stored, in seconds since 1970.
        expires: when it is deleted, in seconds since 1970.
    """

    id: str
    owner: str
    sha256: str
    size: int
    media_type: str
    created: float
    expires: float


class UserStore(Protocol):
    """Stores users."""

    def add(self, user: User) -> None:
        """Store a new user.

        Raises:
            NameTaken: there is a user of that name already.
        """

    def find(self, name: str) -> User | None:
        """The user of that name, whatever its case; None if there is none."""


class TaskStore(Protocol):
    """Stores tasks and their events. When a method returns, its change survives a crash and a power failure."""

    def add(self, task: Task, content: Mapping[str, Any]) -> Event:
        """Store a new task, together with its first event.

        Raises:
            TooManyTasks: too many tasks of the owner's client are pending.
            Overloaded: too many tasks of all public tokens, or of all owners, are pending.
        """

    def record(
        self, task: Task, state: TaskState, content: Mapping[str, Any], images: Sequence[Blob] = ()
    ) -> Event | None:
        """Store a new state of a task, its event and its pictures, in one transaction.

        Returns:
            The event; None, with nothing stored, if the task had ended before.
        """

    def task(self, owner: str, task_id: str) -> Task:
        """A task of this owner.

        Raises:
            UnknownTask: there is no such task, or it is another owner's.
        """

    def tasks(self, owner: str, *, limit: int, offset: int) -> list[tuple[Task, Event]]:
        """An owner's tasks with their last events, the newest first."""

    def last_event(self, task: Task) -> Event:
        """The last event of a task."""

    def events_since(self, owner: str, event_id: int, *, limit: int) -> list[Event]:
        """The events of an owner's tasks with a larger id, in order."""

    def check_room(self, owner: str) -> None:
        """Raise the error with which ``add`` would refuse a task of this owner now."""

    def count_starts(self, task: Task) -> int:
        """How many times a task has been started."""

    def delete_ended(self, before: float) -> int:
        """Delete the tasks that ended before a time in seconds since 1970; returns their number."""


class BlobStore(Protocol):
    """Stores images."""

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """Write an image's content. It is not listed, and can not be read, until ``add`` or ``TaskStore.record``."""

    def add(self, blob: Blob) -> None:
        """List an image that ``make`` has written.

        Raises:
            QuotaExceeded: the images of the owner's client would exceed the quota.
            Overloaded: the images of all public tokens, or of all owners, would exceed their limit.
        """

    def blob(self, owner: str, blob_id: str) -> Blob:
        """An image of this owner.

        Raises:
            UnknownBlob: there is no such image, it is another owner's, or it has expired.
        """

    def read(self, blob: Blob) -> bytes:
        """The content of an image.

        Raises:
            UnknownBlob: the content has been deleted.
        """

    def check_quota(self, owner: str, more: int = 0) -> None:
        """Raise the error with which ``add`` would refuse so many more bytes, or StoreUnavailable for a full disk."""

    def remove(self, blob: Blob) -> None:
        """Delete an image."""

    def sweep(self) -> int:
        """Delete expired images, and contents that are not listed; returns the number of deleted contents."""
