"""Fields that hold several images, each with what is said of it, from whichever form a client sends."""

import json
from typing import Any


def entries_in(value: Any) -> list[Any]:
    """The entries that a field holds: objects, or images alone, of which objects are made.

    Args:
        value: An entry, the JSON of some, or several of these.

    Raises:
        ValueError: A text begins as JSON and is none; the message is the end of a sentence that begins with the field.
    """
    if isinstance(value, list | tuple):
        return [entry for each in value for entry in entries_in(each)]
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return []
        # No image begins so, however it is sent.
        if text[0] in "[{":
            try:
                return entries_in(json.loads(text))
            except (ValueError, RecursionError):
                raise ValueError("is no valid JSON; send an array of images or objects") from None
    return [value] if isinstance(value, dict) else [{"image": value}]
