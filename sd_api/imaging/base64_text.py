"""Base64 as it is met in the field, to bytes.

A text of 60 MB is as welcome as one of 60 bytes, so nothing here makes a list of its lines or a copy of the whole, and
nothing keeps other threads waiting for longer than a stretch takes.
"""

import base64
import io
import re
from collections.abc import Iterator

from sd_api.errors import InvalidField
from sd_api.imaging.long_text import Text
from sd_api.imaging.stretches import STRETCH

_DATA_URL = re.compile(r"\s*data:[^,]*;\s*base64\s*,", re.IGNORECASE)
_FOREIGN = re.compile(r"[^A-Za-z0-9+/]")
_LINE_BREAKS = "\n\v\f\r"
_BREAKS = "\t\n\v\f\r"
_STANDARD = str.maketrans("-_ ", "+/+", _BREAKS)
_LONGEST_PREFIX = 4096  # characters of a data URL before its data
_SHORTEST_LINE = 20  # characters; nobody wraps base64 more tightly
_LONGEST_GAP = 100  # characters of white space between two lines
_SHOWN = 16  # characters of a faulty text that its error message quotes


def decode_base64(field: str, text: Text) -> bytes:
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
    prefix = _DATA_URL.match(text[:_LONGEST_PREFIX])
    start = _start(text, prefix.end() if prefix else 0)
    last = end = _end(text, start)
    width, gap = _gap_between_lines(text, start, end)
    # Whole lines, so that no gap is cut in two.
    step = STRETCH // (width + len(gap)) * (width + len(gap)) if gap else STRETCH
    end = _end(text, start, end, "=" + _BREAKS)
    decoded = io.BytesIO()
    length, rest = 0, ""
    for _, stretch in _stretches(text, start, end, step):
        characters = (stretch.replace(gap, "") if gap else stretch).translate(_STANDARD)
        length += len(characters)
        if not characters.isascii() or "=" in characters:
            raise _foreign(field, text, characters)
        characters = rest + characters
        whole = len(characters) // 4 * 4
        rest = characters[whole:]
        try:
            decoded.write(base64.b64decode(characters[:whole], validate=True))
        except ValueError:
            raise _foreign(field, text, characters) from None
    rest += _pluses_after(text, last, -length % 4)
    if not length:
        raise InvalidField(field, "is empty; send a picture as base64 text")
    if _FOREIGN.search(rest):
        raise _foreign(field, text, rest)
    if len(rest) == 1:
        raise InvalidField(field, f"is incomplete base64, {length} characters; was it cut off on the way?")
    decoded.write(base64.b64decode(rest + "=" * (-len(rest) % 4)))
    return decoded.getvalue()


def _foreign(field: str, text: Text, characters: str) -> InvalidField:
    found = _FOREIGN.search(characters)
    start = text[:_LONGEST_PREFIX].strip()[:_SHOWN]
    return InvalidField(field, f"is not base64: it starts with {start!a} and holds {found[0] if found else '='!a}")


def _stretches(text: Text, start: int, end: int, step: int = STRETCH) -> Iterator[tuple[int, str]]:
    """The stretches of a part of a text, and where each of them begins."""
    for at in range(start, end, step):
        yield at, text[at : min(at + step, end)]


def _start(text: Text, at: int) -> int:
    """Where the first character is that is no white space."""
    while at < len(text):
        stretch = text[at : at + STRETCH]
        at += len(stretch) - len(stretch.lstrip())
        if not stretch.isspace():
            break
    return at


def _end(text: Text, start: int, end: int | None = None, dropped: str | None = None) -> int:
    """Where the characters begin that are to be dropped at the end; None drops white space."""
    end = len(text) if end is None else end
    while end > start:
        stretch = text[max(start, end - STRETCH) : end]
        kept = len(stretch.rstrip(dropped))
        end -= len(stretch) - kept
        if kept:
            break
    return end


def _pluses_after(text: Text, end: int, missing: int) -> str:
    """The pluses that are lost at the end of a text: as many as its last group of four lacks, if spaces are there."""
    spaces = text[end : end + missing].count(" ")
    return "+" * missing if spaces == missing and text[max(0, end - 1) : end] != "=" else ""


def _spaces(text: Text, start: int, end: int) -> int:
    return sum(stretch.count(" ") for _, stretch in _stretches(text, start, end))


def _find(text: Text, wanted: str, start: int, end: int) -> int:
    """Where the first of some characters is; -1 where there is none."""
    for at, stretch in _stretches(text, start, end):
        # Each by itself, which takes a tenth of the time of a pattern for all.
        if found := [place for each in wanted if (place := stretch.find(each)) >= 0]:
            return at + min(found)
    return -1


def _repeats(text: Text, gap: str, first: int, line: int, end: int) -> bool:
    """Whether the same gap stands in the same place of each line."""
    for _, stretch in _stretches(text, first, end, STRETCH // line * line):
        for offset, character in enumerate(gap):
            there = stretch[offset::line]
            if there.count(character) != len(there):
                return False
    return True


def _gap_between_lines(text: Text, start: int, end: int) -> tuple[int, str]:
    """Find the white space that only lays the text out, so that other spaces are pluses.

    An encoder makes lines that are equally long and wraps between its groups of four.

    Returns:
        The length of a line, and what stands between two; 0 and "" where there are no such lines.
    """
    none = 0, ""
    breaks = _find(text, _LINE_BREAKS, start, end)
    at = breaks if breaks >= 0 else _find(text, " ", start, end)
    if at < 0:
        return none
    around = text[at : at + _LONGEST_GAP]
    first = _end(text, max(start, at - _LONGEST_GAP), at)
    gap = text[first : at + len(around) - len(around.lstrip())]
    width = first - start
    line = width + len(gap)
    if " " not in gap or width < _SHORTEST_LINE or width % 4 or line > STRETCH:
        return none
    if not _repeats(text, gap, first, line, end):
        return none
    count, last = divmod(end - start, line)
    if breaks < 0 and (gap != " " or _spaces(text, start, end) != count):
        return none
    # Whole groups in the last line leave no room for a lost plus. Nor do three lines: the pieces between several lost
    # pluses would hardly be equally long.
    return (width, gap) if last % 4 == 0 or (breaks < 0 and count > 1) else none
