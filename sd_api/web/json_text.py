"""The JSON of requests and answers."""

from functools import partial
from typing import Any

from flask.json.provider import DefaultJSONProvider

from sd_api.imaging.json_text import parse_json
from sd_api.imaging.long_text import LongText


class BoundedJson(DefaultJSONProvider):
    """Refuses a JSON text that would cost more than its size, before it is parsed.

    Objects are written as they are: a form shows the fields in the order of their declaration.
    """

    sort_keys = False

    @staticmethod
    def default(o: Any) -> Any:
        """How a long text is sent back: as its beginning. See the base class."""
        return str(o) if isinstance(o, LongText) else DefaultJSONProvider.default(o)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See the base class, and ``parse_json`` for what else is raised."""
        return parse_json(s, partial(super().loads, **kwargs))
