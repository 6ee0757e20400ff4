"""Admits requests by their headers before their bodies are read, and answers those whose bodies could not be read.

The network edge asks the application twice: first with the headers alone, whether the request would be served and how
long its body may be; then with the body. Both times the application runs all its checks, so the edge needs
none of its own.
"""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Request, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from sd_api.settings import Limits
from sd_api.web.content_coding import Unpacker, find_unpacker
from sd_api.web.json_text import BoundedJson
from sd_api.web.reading import BoundedRequest, FormGuard

# The key in the ASGI scope of an Admission, if the edge asks with the headers alone.
ADMISSION = "sd_api.admission"

# The key in the ASGI scope of the exception that ended the reading of the body.
REFUSAL = "sd_api.refusal"

# Bytes of a body without a task's two prompts. A character of these has at most 12, such as \ud83d\ude00.
SMALL_BODY = 32 * 1024
PROMPTS, BYTES_OF_CHARACTER = 2, 12


class Admission:
    """The application's decision on a request before its body is read.

    Attributes:
        granted: whether the body may be read; if not, the answer says why.
        max_bytes: the most bytes that the body may have, as it comes and unpacked.
        unpacker: unpacks the body; None if it is not compressed.
        check: called with each unpacked piece; raises a ServerError if the body need not be read to its end.
    """

    def __init__(self) -> None:
        self.granted = False
        self.max_bytes = 0
        self.unpacker: Unpacker | None = None
        self.check: Callable[[bytes], object] = len

    def grant(self, asked: Request) -> None:
        """Admit a request, and set how its body is read.

        Raises:
            RequestEntityTooLarge: the Content-Length exceeds the limit.
            UnsupportedCoding: the body is compressed in a way that nothing here unpacks.
        """
        self.unpacker = find_unpacker(asked.headers.get("Content-Encoding"))
        self.max_bytes = asked.max_content_length or 0
        if (asked.content_length or 0) > self.max_bytes:
            raise RequestEntityTooLarge
        if asked.mimetype == "application/x-www-form-urlencoded":
            self.check = FormGuard(asked.max_form_parts).take
        self.granted = True


class Application(Flask):
    """Flask, which also answers the edge's questions about admission, after all checks of a request."""

    request_class = BoundedRequest
    json_provider_class = BoundedJson

    def dispatch_request(self) -> ResponseReturnValue:
        """Call the view, unless the edge asks for admission or reports a refused body."""
        scope: dict[str, Any] = request.environ.get("asgi.scope", {})
        if REFUSAL in scope:
            raise scope[REFUSAL]
        if ADMISSION not in scope:
            return super().dispatch_request()
        if request.routing_exception is not None:
            self.raise_routing_exception(request)
        scope[ADMISSION].grant(request)
        return ""


def small_body(limits: Limits) -> int:
    """Bytes of the longest body without a picture."""
    return SMALL_BODY + PROMPTS * BYTES_OF_CHARACTER * limits.max_prompt_length


def take_pictures(blueprint: Blueprint, limits: Limits) -> None:
    """Raise the limit of the bodies posted to a blueprint to that of pictures."""

    def allow() -> None:
        if request.method == "POST":
            request.max_content_length = limits.max_request_bytes

    blueprint.before_request(allow)
