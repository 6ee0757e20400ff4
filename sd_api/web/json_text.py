"""The JSON of requests and answers."""

from functools import partial
from typing import Any

from flask.json.provider import DefaultJSONProvider

from sd_api.imaging.json_text import parse_json


class BoundedJson(DefaultJSONProvider):
    """Refuses a JSON text that would cost more than its size, before it is parsed.

    Objects are written as they are: a form shows the fields in the order of their declaration.
    """

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See the base class, and ``parse_json`` for what else is raised."""
        return parse_json(s, partial(super().loads, **kwargs))
