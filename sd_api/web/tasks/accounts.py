"""The endpoints for users and tokens."""

from typing import Any

from flask import Blueprint, Response, request

from sd_api.accounts.accounts import Accounts
from sd_api.web.tasks.bodies import read_credentials


def make_blueprint(accounts: Accounts) -> Blueprint:
    """The endpoints over ``accounts``."""
    blueprint = Blueprint("accounts", __name__)
    endpoints = AccountEndpoints(accounts)
    blueprint.add_url_rule("/user", view_func=endpoints.sign_up, methods=["POST"])
    blueprint.add_url_rule("/user/<username>", view_func=endpoints.sign_up, methods=["POST"])
    blueprint.add_url_rule("/token", view_func=endpoints.log_in, methods=["POST"])
    blueprint.add_url_rule("/token/all", view_func=endpoints.public_token, methods=["POST"])
    blueprint.add_url_rule("/token/<username>", view_func=endpoints.log_in, methods=["POST"])
    blueprint.after_request(_keep_out_of_caches)
    return blueprint


class AccountEndpoints:
    """One method for each endpoint."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def sign_up(self, username: str | None = None) -> dict[str, Any]:
        """Create a user."""
        credentials = read_credentials(username)
        self._accounts.sign_up(credentials.username, credentials.password, _client())
        return {"username": credentials.username}

    def log_in(self, username: str | None = None) -> dict[str, Any]:
        """A token for a user."""
        credentials = read_credentials(username)
        return _token_response(self._accounts.log_in(credentials.username, credentials.password, _client()))

    def public_token(self) -> dict[str, Any]:
        """A public token."""
        return _token_response(self._accounts.public_token(_client()))


def _client() -> str:
    return request.remote_addr or ""


def _token_response(token: str) -> dict[str, Any]:
    return {"access_token": token, "token_type": "bearer"}


def _keep_out_of_caches(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
