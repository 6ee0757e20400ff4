"""``GET /access``: the access rules of this server, and whether a given address or web page is allowed."""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, request

from sd_api.errors import InvalidField, RefusedCaller
from sd_api.settings import Settings
from sd_api.web.guards import Callers


def make_blueprint(settings: Settings) -> Blueprint:
    """The access endpoint over the guards of the application."""
    blueprint = Blueprint("access", __name__)
    # The same checks as for every request, so that the answer is always right.
    callers = Callers(settings)

    def access() -> dict[str, Any]:
        answer: dict[str, Any] = {
            "status": "success",
            "listens_on": settings.host,
            "port": settings.port,
            "allowed_hosts": list(settings.allowed_hosts),
            "allowed_origins": list(settings.allowed_origins),
            "require_token": settings.require_token,
            "share_jobs": settings.share_jobs,
            "enable_signup": settings.enable_signup,
            "enable_public_token": settings.enable_public_token,
        }
        if "address" in request.args:
            answer["refusal"] = _refusal(callers, _host_of(request.args["address"]), request.args.get("origin"))
        return answer

    blueprint.add_url_rule("/access", view_func=access)
    return blueprint


def _host_of(address: str) -> str:
    """The Host header that a client would send to an address such as ``http://my-pc:1337``."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
    except ValueError:
        parts = urlsplit("")
    # An https address is that of a proxy, which sends the same Host.
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidField("address", f"is {address[:100]!r}; it must be like http://127.0.0.1:1337")
    return parts.netloc


def _refusal(callers: Callers, host: str, origin: str | None) -> str | None:
    try:
        callers.check(host, origin)
    except RefusedCaller as refusal:
        return refusal.message
    return None
