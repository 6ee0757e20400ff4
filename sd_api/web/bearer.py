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


def identify_caller(accounts: Accounts, *, basic: bool = False) -> Identity:
    """The owner of the current request.

    Args:
        accounts: verifies tokens.
        basic: whether the token may also come as the password of HTTP Basic.

    Raises:
        NotAuthenticated: the request has no valid token.
    """
    try:
        authorization = request.authorization
    except ValueError:
        # What werkzeug makes of a name and a password that are no text.
        authorization = None
    token = None
    if authorization is not None and authorization.type == "bearer":
        token = authorization.token
    elif authorization is not None and authorization.type == "basic" and basic:
        token = authorization.password
    if not token:
        other = ", or as the password of HTTP Basic" if basic else ""
        raise NotAuthenticated(f"This needs a token, in a header: Authorization: Bearer <token>{other}.")
    return accounts.identify(token)


class JobOwners:
    """Decides whose the plugin's jobs are.

    Args:
        accounts: verifies tokens.
        shared: whether every caller sees all of them, see ``share_jobs`` in the settings.
        basic: see ``identify_caller``.
    """

    def __init__(self, accounts: Accounts, *, shared: bool, basic: bool = False) -> None:
        self._accounts = accounts
        self._shared = shared
        self._basic = basic

    def sender(self) -> str:
        """The owner of the current request; where no token is required, one that is not valid counts as none."""
        try:
            return identify_caller(self._accounts, basic=self._basic).owner
        except NotAuthenticated:
            return owners.address(request.remote_addr)

    def owner(self) -> str:
        """The owner of the jobs that the current request sends and sees."""
        return owners.SHARED if self._shared else self.sender()

    def submit(self, queue: JobQueue, spec: JobSpec, name: str | None = None, *, dialect: str) -> Job:
        """Submit a job of the current request.

        Args:
            queue: the job queue.
            spec: what to make.
            name: what the client calls the job; None chooses a name.
            dialect: in which it is asked for.
        """
        return queue.submit(
            spec,
            job_id=owners.qualified(self.owner(), name or uuid4().hex),
            client=owners.client_of(self.sender()),
            program=program_name(),
            dialect=dialect,
        )


def token_check(accounts: Accounts, *, basic: bool = False) -> Callable[[], None]:
    """Make a ``before_request`` function for a blueprint that needs a token; ``basic`` as for ``identify_caller``."""

    def check() -> None:
        # The preflight request of a browser has no token.
        if request.method != "OPTIONS" and request.path not in OPEN_PATHS:
            identify_caller(accounts, basic=basic)

    return check
