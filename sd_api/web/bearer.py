"""Who asks, by the token in the ``Authorization`` header."""

from collections.abc import Callable

from flask import request

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.tokens import Identity
from sd_api.errors import NotAuthenticated

# Answer without a token, so that it can be asked whether the server is there at all, and how to come to one.
OPEN_PATHS = {"/ping", "/access"}


def identify_caller(accounts: Accounts) -> Identity:
    """Who sent the request that is being answered.

    Raises:
        NotAuthenticated: there is no token, or no valid one.
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
    """A check for a whole blueprint, before each of its requests."""

    def check() -> None:
        # A browser asks without a token whether it may send one.
        if request.method != "OPTIONS" and request.path not in OPEN_PATHS:
            identify_caller(accounts)

    return check
