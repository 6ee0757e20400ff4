"""Base64 as it is met in the field, to bytes."""

import base64
import re

from sd_api.errors import InvalidField

_DATA_URL = re.compile(r"\s*data:[^,]*;\s*base64\s*,", re.IGNORECASE)
_FOREIGN = re.compile(r"[^A-Za-z0-9+/]")
_STANDARD = str.maketrans("-_ ", "+/+", "\t\n\v\f\r")
_SHORTEST_LINE = 20  # characters; nobody wraps base64 more tightly
_SHOWN = 16  # characters of a faulty text that its error message quotes


def decode_base64(field: str, text: str) -> bytes:
    """Read base64 text leniently.

    A ``data:<type>;base64,`` prefix, white space, line breaks, the URL-safe alphabet and missing
    padding are all fine. A space inside a line is a ``+`` that an urlencoded form has lost, and so is one at
    the end of a text that is incomplete without it.

    Args:
        field: name of the form's field, for the error message.
        text: what came in it.

    Returns:
        The decoded bytes, at least one.

    Raises:
        InvalidField: the text is empty, is not base64 or was cut off.
    """
    prefix = _DATA_URL.match(text)
    text = text[prefix.end() :] if prefix else text
    characters = _unwrap(text).translate(_STANDARD)
    characters = (characters + _pluses_after(characters, text)).rstrip("=")
    if not characters:
        raise InvalidField(field, "is empty; send a picture as base64 text")
    try:
        return base64.b64decode(characters + "=" * (-len(characters) % 4), validate=True)
    except ValueError as error:
        if foreign := _FOREIGN.search(characters):
            start = text.strip()[:_SHOWN]
            problem = f"is not base64: it starts with {start!a} and holds {foreign[0]!a}"
        else:
            problem = f"is incomplete base64, {len(characters)} characters; was it cut off on the way?"
        raise InvalidField(field, problem) from error


def _unwrap(text: str) -> str:
    """Drop the spaces that only lay the text out, so that those which are left are pluses."""
    text = text.strip()
    lines = [line.strip() for line in text.splitlines()]
    sure = False
    if len(lines) < 2:
        lines = text.split(" ")
        sure = len(lines) > 2  # the pieces between lost pluses would hardly be equally long
    return "".join(lines) if _are_lines(lines, sure) else text


def _pluses_after(characters: str, text: str) -> str:
    """The pluses that are lost at the end of a text: as many as its last group of four lacks, if spaces are there."""
    end = text[len(text.rstrip()) :]
    spaces, missing = len(end) - len(end.lstrip(" ")), -len(characters) % 4
    return "+" * missing if spaces >= missing and not characters.endswith("=") else ""


def _are_lines(pieces: list[str], sure: bool) -> bool:
    """Tell lines of base64 from pieces between pluses that have become spaces."""
    *lines, last = pieces
    widths = {len(line) for line in lines}
    if len(widths) != 1:
        return False
    (width,) = widths
    return (
        width >= _SHORTEST_LINE
        and width % 4 == 0  # an encoder wraps between its groups of four
        and len(last) <= width
        and (sure or len(last) % 4 == 0)  # whole groups leave no room for a lost plus
    )
