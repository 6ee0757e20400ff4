"""The callers that were refused in the last hour, for ``GET /health`` and the page at ``/status``."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from sd_api.errors import RefusedCaller
from sd_api.settings import Settings
from sd_api.settings.fields import Host, Origin

KEPT_SECONDS = 3600

# Different callers that are remembered; beyond this the one that has not called for the longest time is forgotten.
MOST_REMEMBERED = 50

# Characters of a header that are kept; a longer one is no name.
LONGEST = 260

_SETTINGS = {"Host": ("allowed_hosts", TypeAdapter(Host)), "Origin": ("allowed_origins", TypeAdapter(Origin))}


@dataclass(frozen=True)
class Refused:
    """A caller that was refused.

    Attributes:
        header: ``Host`` or ``Origin``.
        value: What the header named, without a port if it is a host.
        count: How often it was refused, with less than an hour between two refusals.
        time: When it was refused last, in seconds since 1970.
        setting: The line of the configuration that would let it in; None if no line can.
    """

    header: str
    value: str
    count: int
    time: float
    setting: str | None


class RefusedCallers:
    """Remembers whom the guards refused; may be called from any thread.

    Args:
        settings: What is allowed already; a proposed line keeps it.
        now: The time in seconds since 1970.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._allowed = {"Host": settings.allowed_hosts, "Origin": settings.allowed_origins}
        self._now = now
        self._lock = threading.Lock()
        # The latest last.
        self._refused: OrderedDict[tuple[str, str], Refused] = OrderedDict()

    def add(self, error: RefusedCaller) -> None:
        """Remember a refusal; one without a header that names the caller is left out."""
        if error.header is None:
            return
        header, value = error.header, error.value[:LONGEST]
        with self._lock:
            refused = self._refused.pop((header, value), None)
            if refused is None or refused.time <= self._now() - KEPT_SECONDS:
                line = self._line(header, value) if value == error.value else None
                refused = Refused(header, value, 0, 0, line)
            self._refused[header, value] = replace(refused, count=refused.count + 1, time=self._now())
            if len(self._refused) > MOST_REMEMBERED:
                self._refused.popitem(last=False)

    def latest_first(self) -> list[Refused]:
        """The refusals of the last hour, the latest first."""
        since = self._now() - KEPT_SECONDS
        with self._lock:
            return [refused for refused in reversed(self._refused.values()) if refused.time > since]

    def _line(self, header: str, value: str) -> str | None:
        name, valid = _SETTINGS[header]
        try:
            wanted = valid.validate_python(f"[{value}]" if header == "Host" and ":" in value else value)
        except ValidationError:
            return None
        if header == "Origin" and wanted != value.lower():
            return None
        return f'"{name}": {json.dumps([*self._allowed[header], wanted])}'
