"""The body of a request of this dialect."""

from typing import Any

from flask import request

from sd_api.errors import RequestError


def json_fields() -> dict[str, Any]:
    """The fields of the request, without those that are null or empty; a body without any is an empty object.

    Raises:
        RequestError: The body is no JSON object.
    """
    if not request.content_length:
        return {}
    content = request.get_json(force=True, cache=False)
    if not isinstance(content, dict):
        raise RequestError("The body is no JSON object.")
    return {name: value for name, value in content.items() if value is not None and value != ""}
