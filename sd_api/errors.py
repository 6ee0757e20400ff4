"""Every error that this server answers or prints on purpose.

Each class carries the HTTP status that a dialect answers it with; the message is written
for the person who reads it, names the field and says what to do. Anything that is not a
``ServerError`` is a bug: it is logged whole and answered with a generic message and an id.

::

    ServerError                  500
    ├── ConfigurationError            start-up only: every fault found, as a list
    ├── RequestError             400  the request cannot be understood
    │   ├── InvalidField         400  a field's text or image is not what it should be
    │   │   └── OutOfLimits      422  well-formed, but outside the configured limits
    │   ├── InvalidFields            several of them: 400 if one is malformed, else 422
    │   ├── NotAuthenticated     401  there is no valid token, or no such user with that password
    │   ├── RefusedCaller        403  the Host or Origin header is not an allowed one
    │   ├── NotEnabled           403  the configuration has this switched off
    │   ├── UnknownModel         404  no custom model has that url_path
    │   ├── UnknownJob           404  no job has that id, or none any more
    │   ├── UnknownDownload      404  no download of this owner's is of that model
    │   ├── UnknownTask          404  no task of this user has that id
    │   ├── UnknownBlob          404  no image of this user has that id
    │   ├── JobIdTaken           409  the client chose the id of another job
    │   ├── JobNotEnded          409  the job's pictures are not made yet
    │   ├── JobNotWaiting        409  the job has no place in the queue that could be another
    │   ├── NameTaken            409  there is a user of that name
    │   ├── QuotaExceeded        413  this user's images exceed the quota
    │   ├── TooManyAttempts      429  passwords are tried too often
    │   └── TooManyTasks         429  too many tasks of this user are waiting
    ├── JobCancelled             409  the job was cancelled
    ├── GenerationFailed         500  the model broke down on this request
    └── Unavailable              503  not now; the same request may work later
        ├── QueueFull            503  too many requests are waiting
        ├── Overloaded           503  a limit for all owners together is reached
        ├── ModelUnavailable     503  the model is not there: network, token, files
        ├── OutOfMemory          503  even the smallest way of running it did not fit
        │   └── ImagesHeld       503  the images of other requests are in memory
        ├── StoreUnavailable     503  data cannot be stored: Redis is away or full
        │   └── DiskFull         507  the disk is full or cannot be written
        └── ServerStopping       503  the server is shutting down
"""

import logging
import traceback
from collections.abc import Sequence
from uuid import uuid4


class ServerError(Exception):
    """Base of the tree.

    Args:
        message: what happened and what to do, for the person who reads it.
        retry_after: seconds after which trying again makes sense, where that is known.
    """

    status = 500

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    @property
    def errors(self) -> "tuple[InvalidField, ...]":
        """The faulty fields, where the message is about fields."""
        return ()

    def again(self) -> "ServerError":
        """A copy to raise: a stored error that is raised itself would keep its traceback and all objects in there."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other


class ConfigurationError(ServerError):
    """The configuration or the files that it names cannot be used.

    Args:
        faults: one line for each fault, in the order in which they were found.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class RequestError(ServerError):
    """The request cannot be understood as it stands."""

    status = 400


class InvalidField(RequestError):
    """One field of the request is malformed.

    Args:
        field: the field's name, as the client spelt it.
        problem: what is wrong with it, as the rest of a sentence that starts with the name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem

    @property
    def errors(self) -> "tuple[InvalidField, ...]":
        """See ServerError."""
        return (self,)


class NotAuthenticated(RequestError):
    """There is no valid token, or no such user with that password."""

    status = 401


class NotEnabled(RequestError):
    """The configuration has this switched off."""

    status = 403


class RefusedCaller(RequestError):
    """The Host or Origin header is not one that the configuration allows.

    Args:
        message: see ServerError.
        header: the header that names the caller, Host or Origin; None if no header does.
        value: the name in that header, as the configuration would have it.
    """

    status = 403

    def __init__(self, message: str, header: str | None = None, value: str = "") -> None:
        super().__init__(message)
        self.header = header
        self.value = value


class UnknownModel(RequestError):
    """No model has that name."""

    status = 404


class UnknownJob(RequestError):
    """No job has that id, or none any more."""

    status = 404


class UnknownDownload(RequestError):
    """No download of this owner's is of that model."""

    status = 404


class UnknownTask(RequestError):
    """No task of this user has that id."""

    status = 404


class UnknownBlob(RequestError):
    """No image of this user has that id."""

    status = 404


class NameTaken(RequestError):
    """There is a user of that name."""

    status = 409


class QuotaExceeded(RequestError):
    """This user's images exceed the quota."""

    status = 413


class TooManyAttempts(RequestError):
    """Passwords are tried too often."""

    status = 429


class TooManyTasks(RequestError):
    """Too many tasks of this user are waiting."""

    status = 429


class JobIdTaken(RequestError):
    """The id that the client chose is another job's."""

    status = 409


class JobNotEnded(RequestError):
    """The job runs or waits still, so it has no result."""

    status = 409


class JobNotWaiting(RequestError):
    """The job has no place in the queue any more, or none among the caller's own."""

    status = 409


class OutOfLimits(InvalidField):
    """A well-formed field lies outside the configured limits."""

    status = 422


class InvalidFields(RequestError):
    """One or several fields of the request cannot be used.

    Args:
        faults: One for each faulty field, at least one.
        message: What to do about them; None puts their own messages together.
    """

    def __init__(self, faults: Sequence[InvalidField], message: str | None = None) -> None:
        super().__init__(message or "; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)
        # Malformed weighs more than out of limits.
        self.status = min(fault.status for fault in faults)

    @property
    def errors(self) -> tuple[InvalidField, ...]:
        """See ServerError."""
        return self.faults


class JobCancelled(ServerError):
    """The job was stopped before it was finished."""

    status = 409


class GenerationFailed(ServerError):
    """The model broke down on this request; the next one is not affected."""


class Unavailable(ServerError):
    """Not now."""

    status = 503


class QueueFull(Unavailable):
    """Too many requests are waiting."""


class Overloaded(Unavailable):
    """A limit for all owners, or for all public tokens, is reached."""


class ModelUnavailable(Unavailable):
    """The model cannot be loaded: no network, no permission, no such files."""


class OutOfMemory(Unavailable):
    """Even the smallest way of running the request did not fit into memory."""


class ImagesHeld(OutOfMemory):
    """The images of other requests fill the memory for them; it is free again once these are done."""


class StoreUnavailable(Unavailable):
    """Data cannot be stored, because the store is full or cannot be reached."""


class DiskFull(StoreUnavailable):
    """Data cannot be stored, because the disk is full or cannot be written."""

    status = 507


class ServerStopping(Unavailable):
    """The server is shutting down."""


def generation_failure(log: logging.Logger, error: Exception, where: str) -> ServerError:
    """The error to report for a failed generation: the same one if it is a ServerError, else a generic one with an id.

    Its traceback is dropped once it is logged, because the frames hold the generation's tensors.
    """
    if isinstance(error, ServerError):
        error.__context__ = None
        return error.with_traceback(None)
    failure = GenerationFailed(log_unexpected(log, error, where))
    traceback.clear_frames(error.__traceback__)
    return failure


def log_unexpected(log: logging.Logger, error: Exception, where: str) -> str:
    """Log an unexpected error with its traceback under an id.

    Returns:
        A message for the client: the id, and no details.
    """
    error_id = uuid4().hex[:8]
    log.error("Unexpected error %s in %s", error_id, where, exc_info=error)
    return f"Something unexpected went wrong. The server's log tells more at error id {error_id}."
