"""Whether there is room for more tasks or images: a client, all public tokens together, and all owners have limits."""

from dataclasses import dataclass

from sd_api.errors import Overloaded, QuotaExceeded, TooManyTasks
from sd_api.owners import is_user
from sd_api.settings import Limits

# The Retry-After of a refusal, in seconds: about as long as some tasks take, or as a person needs to delete images.
SECONDS_OF_TASKS, SECONDS_OF_IMAGES = 60, 600


@dataclass(frozen=True)
class Usage:
    """How much there is, or how much there may be: pending tasks, or bytes of images.

    Attributes:
        own: of the client of an owner, see ``sd_api.owners``.
        public: of all public tokens together, and of clients without a token.
        total: of all owners together.
    """

    own: int
    public: int
    total: int


def most_tasks(limits: Limits) -> Usage:
    """How many tasks may be pending."""
    return Usage(limits.max_pending_tasks_per_user, limits.max_pending_public_tasks, limits.max_pending_tasks)


def most_bytes(limits: Limits) -> Usage:
    """How many bytes images may have."""
    return Usage(limits.max_blob_bytes_per_user, limits.max_public_blob_bytes, limits.max_blob_bytes)


def check_tasks(owner: str, used: Usage, limits: Limits) -> None:
    """Refuse another task of an owner if there is no room for it.

    Raises:
        TooManyTasks: too many tasks of the owner's client are pending.
        Overloaded: too many tasks of all public tokens or of all owners are pending.
    """
    most = most_tasks(limits)
    if used.own >= most.own:
        raise TooManyTasks(
            f"{used.own} of your tasks are waiting, as many as limits.max_pending_tasks_per_user allows. Wait until "
            "one is done, or cancel one.",
            SECONDS_OF_TASKS,
        )
    if not is_user(owner) and used.public >= most.public:
        raise Overloaded(
            f"{used.public} tasks of public tokens are waiting, as many as limits.max_pending_public_tasks allows.",
            SECONDS_OF_TASKS,
        )
    if used.total >= most.total:
        raise Overloaded(
            f"{used.total} tasks are waiting, as many as limits.max_pending_tasks allows.", SECONDS_OF_TASKS
        )


def check_bytes(owner: str, used: Usage, more: int, limits: Limits) -> None:
    """Refuse so many more bytes of an owner's images if there is no room for them.

    Raises:
        QuotaExceeded: the images of the owner's client would reach their limit.
        Overloaded: those of all public tokens or of all owners would.
    """
    most = most_bytes(limits)
    if used.own + more >= most.own:
        raise QuotaExceeded(
            f"Your images take {used.own:,} bytes, and {most.own:,} may be kept for you. "
            "Delete some with DELETE /blob/<id> or DELETE /documents/<id>."
        )
    if not is_user(owner) and used.public + more >= most.public:
        raise Overloaded(
            f"The images of all public tokens take {used.public:,} bytes, and limits.max_public_blob_bytes allows "
            f"{most.public:,}.",
            SECONDS_OF_IMAGES,
        )
    if used.total + more >= most.total:
        raise Overloaded(
            f"All images take {used.total:,} bytes, and limits.max_blob_bytes allows {most.total:,}.", SECONDS_OF_IMAGES
        )
