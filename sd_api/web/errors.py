"""Turns every error into an answer: this server's errors, Flask's, and unexpected ones.

The answer has the shape of the dialect that the path belongs to.
"""

import logging
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestedRangeNotSatisfiable,
    RequestEntityTooLarge,
)

from sd_api.errors import NotAuthenticated, ServerError, log_unexpected
from sd_api.web.content_coding import CODINGS, UnsupportedCoding

# Paths of one dialect that the answer to an unknown path names; of a dialect with more, it names none.
MOST_NAMED = 12

log = logging.getLogger(__name__)

Render = Callable[[ServerError, int], tuple[Mapping[str, Any], int]]
"""From an error and its usual status to the body and the status of a dialect's failure."""


def register_error_handlers(app: Flask, render: Render, others: Mapping[str, Render], beside: Sequence[str]) -> None:
    """Answer every error of ``app`` as JSON.

    Args:
        app: the application.
        render: renders errors at the paths of no other dialect.
        others: the render functions of further dialects, by the first part of their paths.
        beside: paths that are served outside of ``app``; listed with its own in the answer to an unknown path.
    """

    def answer(error: ServerError, status: int) -> Response:
        render_error = others.get(_first_part(request.path), render)
        body, status = render_error(error, status)
        response = jsonify(body)
        response.status_code = status
        return response

    def server_error(error: ServerError) -> Response:
        response = answer(error, error.status)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, UnsupportedCoding):
            response.headers["Accept-Encoding"] = CODINGS
        if isinstance(error, NotAuthenticated):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def http_error(error: HTTPException) -> Response:
        response = answer(ServerError(_explained(error, app, beside, others)), error.code or 500)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(error.valid_methods)
        if isinstance(error, RequestedRangeNotSatisfiable) and error.length is not None:
            response.headers["Content-Range"] = f"{error.units} */{error.length}"
        return response

    def unexpected(error: Exception) -> Response:
        return answer(ServerError(log_unexpected(log, error, f"{request.method} {request.path}")), 500)

    app.register_error_handler(ServerError, server_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected)


def _explained(error: HTTPException, app: Flask, beside: Sequence[str], others: Container[str]) -> str:
    if isinstance(error, NotFound):
        paths = sorted({*beside, *(rule.rule for rule in app.url_map.iter_rules())})
        # In a dialect with paths of its own, those of others do not help.
        dialect = _first_part(request.path)
        own = [path for path in paths if _first_part(path) == dialect]
        if len(own) > MOST_NAMED or (not own and dialect in others):
            return f"There is nothing at {request.path[:200]!r}. What there is stands at /docs."
        sizes = Counter(map(_first_part, paths))
        paths = own or [path for path in paths if sizes[_first_part(path)] <= MOST_NAMED]
        return f"There is nothing at {request.path[:200]!r}. This server has: {', '.join(paths)}."
    if isinstance(error, MethodNotAllowed):
        return f"{request.path} does not take {request.method}, but {' or '.join(_worth_naming(error))}."
    if isinstance(error, RequestEntityTooLarge):
        message = (
            f"The request's body is larger than the {request.max_content_length} bytes that {request.path[:200]} takes."
        )
        if request.max_content_length != app.config["MAX_CONTENT_LENGTH"]:
            message += " Send a smaller image, or raise limits.max_request_bytes in the configuration."
        return message
    return error.description or error.name


def _first_part(path: str) -> str:
    return path.split("/", 2)[1]


def _worth_naming(error: MethodNotAllowed) -> list[str]:
    return sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
