"""JSON with pictures in it as texts, parsed at a cost that is bounded by its size, whatever is in it."""

import codecs
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sd_api.errors import RequestError
from sd_api.imaging.long_text import LONGEST_PLAIN, LongText, Text
from sd_api.imaging.stretches import STRETCH, gather, stretches_of

# Values and brackets in a JSON text.
MOST_VALUES = 200_000

# Bytes of a JSON text that may be read twice, or have another encoding; longer ones have pictures.
LONGEST_RECODED = LONGEST_PLAIN

# Characters of a text that may be any; only base64 is longer. One emoji would make each of them take 4 bytes.
LONGEST_TEXT = 65_536

# Bytes of the texts that are not ASCII, in a JSON with pictures; prompts have some thousands.
MOST_WIDE = 4 * LONGEST_TEXT

# Bytes from which a text is decoded by itself.
LONG = 4096

# What an escape may have before and in its last byte.
_ESCAPE = 6


class TooManyFields(RequestError):
    """A form or a JSON text has more fields than anything here takes."""

    status = 413


def parse_json(text: bytes | Text, loads: Callable[[bytes], Any] = json.loads, *, most: int = MOST_VALUES) -> Any:
    """Parse a JSON text, unless it would cost more than its size.

    Args:
        text: What came.
        loads: Parses what is short.
        most: How many values it may have.

    Raises:
        TooManyFields: It has more values.
        RequestError: Its brackets are nested too deeply, a long text in it has other characters than ASCII, or there
            is much beside its long texts.
        ValueError: It is no JSON.
    """
    raw = _raw(text)
    _refuse_many_values(raw, most)
    try:
        if len(raw) <= LONGEST_RECODED:
            return loads(bytes(raw))
        rest, texts = _apart(raw)
        return _filled(loads(rest), texts)
    except RecursionError:
        raise RequestError("The JSON's brackets are nested too deeply.") from None


def _raw(text: bytes | Text) -> memoryview:
    if isinstance(text, LongText):
        return text.raw
    return memoryview(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def _refuse_many_values(text: memoryview, most: int) -> None:
    values = marks = 0
    for part in stretches_of(len(text)):
        stretch = bytes(text[part])
        # Commas in texts count as well; a prompt has some hundreds.
        values += sum(map(stretch.count, (b",", b"[", b"{")))
        marks += stretch.count(b'"')
        # A value has a name and a text, with two quotation marks each.
        if max(values, marks // 4) > most:
            raise TooManyFields(f"The JSON has more than {most} values.")


def _apart(text: memoryview) -> tuple[bytes, dict[str, Text]]:
    """Take the long texts out of a large JSON: Python's parser lets no other thread run before its end.

    Returns:
        The JSON with another text in the place of each, and what these stand for.
    """
    head = bytes(text[:_ESCAPE])
    if json.detect_encoding(head) not in ("utf-8", "utf-8-sig"):
        raise RequestError(f"A JSON of more than {LONGEST_RECODED} bytes must be UTF-8.")
    rest: list[bytes] = []
    texts: dict[str, Text] = {}
    done, wide, length = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0, 0, 0
    for start, end in [*_long_texts(text), (len(text), len(text))]:
        if (length := length + start - done) > LONGEST_RECODED:
            raise TooManyFields(f"The JSON has more than {LONGEST_RECODED} bytes beside its texts of more than {LONG}.")
        rest.append(bytes(text[done:start]))
        done = end
        if start == end:
            continue
        decoded = _decoded(text[start:end])
        if isinstance(decoded, str) and not decoded.isascii() and (wide := wide + end - start) > MOST_WIDE:
            raise RequestError(f"The texts of the JSON that are not ASCII have more than {MOST_WIDE} bytes.")
        name = f"\0{len(texts)}"
        texts[name] = decoded
        rest.append(json.dumps(name)[1:-1].encode())
    return b"".join(rest), texts


def _long_texts(text: memoryview) -> Iterator[tuple[int, int]]:
    """Where the texts of more than ``LONG`` bytes begin and end, but for those with quotation marks inside."""
    inside = began = False
    start = 0
    for end in _quotation_marks(text):
        # After an odd number of backslashes, a quotation mark belongs to the text.
        ends = not inside or _backslashes_before(text, start, end) % 2 == 0
        if inside and began and ends and end - start > LONG:
            yield start, end
        inside, began = inside != ends, ends
        start = end + 1


def _quotation_marks(text: memoryview) -> Iterator[int]:
    for part in stretches_of(len(text)):
        stretch = bytes(text[part])
        at = -1
        while (at := stretch.find(b'"', at + 1)) >= 0:
            yield part.start + at


def _backslashes_before(text: memoryview, start: int, end: int) -> int:
    """How many backslashes, none of them before ``start``, end at ``end``."""
    count = 0
    for part in stretches_of(end - start, LONG):
        before = bytes(text[max(start, end - part.stop) : end - part.start])
        kept = len(before.rstrip(b"\\"))
        count += len(before) - kept
        if kept:
            break
    return count


def _decoded(text: memoryview) -> Text:
    """What a text means, made a stretch at a time; a long one without escapes stays where it is."""
    if len(text) <= LONGEST_PLAIN:
        return "".join(_decoded_stretches(text))
    plain = _encoded(_decoded_stretches(text))
    if any(b"\\" in bytes(text[part]) for part in stretches_of(len(text))):
        return LongText(gather(plain, len(text)))
    for _ in plain:
        pass  # It is looked whether each of them can be decoded.
    return LongText(text)


def _encoded(stretches: Iterator[str]) -> Iterator[bytes]:
    return (stretch.encode("ascii") for stretch in stretches)


def _decoded_stretches(text: memoryview) -> Iterator[str]:
    is_long = len(text) > LONGEST_TEXT
    start, end = 0, len(text)
    while start < end:
        stretch = bytes(text[start : min(start + STRETCH, end)])
        if start + STRETCH < end and (at := stretch.find(b"\\", -_ESCAPE)) >= 0:
            # No escape is cut in two.
            stretch = stretch[: len(stretch[:at].rstrip(b"\\"))] or stretch
        made = json.loads(b'"%b"' % stretch)
        start += len(stretch)
        if is_long and not made.isascii():
            raise RequestError(
                f"A text in the JSON is longer than {LONGEST_TEXT} bytes and is not plain; send images as base64 text."
            )
        yield made


def _filled(value: Any, texts: Mapping[str, Text]) -> Any:
    """A value of the JSON with its long texts."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_filled(inner, texts) for inner in value]
    if isinstance(value, dict):
        return {_name(texts.get(name, name)): _filled(inner, texts) for name, inner in value.items()}
    return value


def _name(text: Text) -> str:
    if isinstance(text, LongText):
        raise RequestError(f"A name in the JSON has {len(text)} characters; send images as values.")
    return text
