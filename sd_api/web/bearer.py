"""Identifies the owner of a request: by the token in its ``Authorization`` header, else by its address."""

from collections.abc import Callable
from uuid import uuid4

from flask import request

from sd_api import owners
from sd_api.accounts.accounts import Accounts
from sd_api.accounts.tokens import Identity
from sd_api.errors import NotAuthenticated
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.jobs.queue import JobQueue
from sd_api.web.client import program_name

# Paths that need no token: a client can find out whether the server is there, and how to get a token.
OPEN_PATHS = {"/ping", "/access"}


def identify_caller(accounts: Accounts) -> Identity:
    """The owner of the current request.

    Raises:
        NotAuthenticated: the request has no valid token.
    """
    try:
        authorization = request.authorization
    except ValueError:
        # What werkzeug makes of a name and a password that are no text.
        authorization = None
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise NotAuthenticated("This needs a token, in a header: Authorization: Bearer <token>.")
    return accounts.identify(authorization.token)


class JobOwners:
    """Decides whose the plugin's jobs are.

    Args:
        accounts: verifies tokens.
        shared: whether every caller sees all of them, see ``share_jobs`` in the settings.
    """

    def __init__(self, accounts: Accounts, *, shared: bool) -> None:
        self._accounts = accounts
        self._shared = shared

    def sender(self) -> str:
        """The owner of the current request; where no token is required, one that is not valid counts as none."""
        try:
            return identify_caller(self._accounts).owner
        except NotAuthenticated:
            return owners.address(request.remote_addr)

    def owner(self) -> str:
        """The owner of the jobs that the current request sends and sees."""
        return owners.SHARED if self._shared else self.sender()

    def submit(self, queue: JobQueue, spec: JobSpec, name: str | None = None) -> Job:
        """Submit a job of the current request.

        Args:
            queue: the job queue.
            spec: what to make.
            name: what the client calls the job; None chooses a name.
        """
        return queue.submit(
            spec,
            job_id=owners.qualified(self.owner(), name or uuid4().hex),
            client=owners.client_of(self.sender()),
            program=program_name(),
        )


def token_check(accounts: Accounts) -> Callable[[], None]:
    """Make a ``before_request`` function for a blueprint that needs a token."""

    def check() -> None:
        # The preflight request of a browser has no token.
        if request.method != "OPTIONS" and request.path not in OPEN_PATHS:
            identify_caller(accounts)

    return check
