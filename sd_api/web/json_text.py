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
        text = s.encode("utf-8", "surrogatepass") if isinstance(s, str) else s
        return parse_json(text, partial(super().loads, **kwargs))
