"""Identifies the owner of a request by the token in its ``Authorization`` header."""

from collections.abc import Callable

from flask import request

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.tokens import Identity
from sd_api.errors import NotAuthenticated

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


def token_check(accounts: Accounts) -> Callable[[], None]:
    """Make a ``before_request`` function for a blueprint that needs a token."""

    def check() -> None:
        # The preflight request of a browser has no token.
        if request.method != "OPTIONS" and request.path not in OPEN_PATHS:
            identify_caller(accounts)

    return check
