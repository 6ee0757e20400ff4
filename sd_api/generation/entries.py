"""Fields that hold several images, each with what is said of it, from whichever form a client sends."""

from typing import Any

from sd_api.imaging.json_text import parse_json
from sd_api.imaging.long_text import LongText, Text
from sd_api.imaging.stretches import STRETCH

# Values in the JSON of a field, and entries in all that came of it; a few are used.
MOST = 1000


def entries_in(value: Any) -> list[Any]:
    """The entries that a field holds: objects, or images alone, of which objects are made.

    Args:
        value: An entry, the JSON of some, or several of these.

    Raises:
        ValueError: A text begins as JSON and is none, or there are too many; the message is the end of a sentence that
            begins with the field.
        RequestError: Its JSON would cost more than its size, see ``parse_json``.
    """
    entries: list[Any] = []
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Text):
            found = _meant(found if isinstance(found, LongText) else found.strip())
        if isinstance(found, list | tuple):
            waiting.extend(reversed(found))
        else:
            entries.append(found if isinstance(found, dict) else {"image": found})
        if len(entries) > MOST:
            raise ValueError(f"has more than {MOST} entries")
    return entries


def _meant(text: Text) -> Any:
    """What a text stands for: nothing, entries as JSON, or an image."""
    if not text:
        return []
    # No image begins so, however it is sent.
    if text[:STRETCH].lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return parse_json(text, most=MOST)
    except ValueError:
        raise ValueError("is no valid JSON; send an array of images or objects") from None
