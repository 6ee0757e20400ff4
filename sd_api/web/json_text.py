"""Parses JSON at a cost that is bounded by its size, whatever is in it."""

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flask.json.provider import DefaultJSONProvider

from sd_api.errors import RequestError
from sd_api.web.charsets import LONGEST_RECODED
from sd_api.web.reading import LONGEST_TEXT, STRETCH, TooManyFields

# Values and brackets in a JSON text.
MOST_VALUES = 200_000

# Bytes of the texts that are not ASCII, in a JSON with pictures; prompts have some thousands.
MOST_WIDE = 4 * LONGEST_TEXT

# Bytes from which a text is decoded by itself.
LONG = 4096

# What an escape may have before and in its last byte.
_ESCAPE = 6


class BoundedJson(DefaultJSONProvider):
    """Refuses a JSON text that would cost more than its size, before it is parsed.

    Objects are written as they are: a form shows the fields in the order of their declaration.
    """

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See the base class.

        Raises:
            TooManyFields: it has more values than anything here takes.
            RequestError: its brackets are nested too deeply, a long text in it has other characters than ASCII, or
                there is much beside its long texts.
        """
        text = s.encode("utf-8", "surrogatepass") if isinstance(s, str) else s
        # Commas in texts count as well; a prompt has some hundreds.
        values = sum(map(text.count, (b",", b"[", b"{")))
        # A value has a name and a text, with two quotation marks each.
        if max(values, text.count(b'"') // 4) > MOST_VALUES:
            raise TooManyFields(f"The JSON has more than {MOST_VALUES} values.")
        try:
            if len(text) <= LONGEST_RECODED:
                return super().loads(text, **kwargs)
            rest, texts = _apart(text)
            return _filled(super().loads(rest, **kwargs), texts)
        except RecursionError:
            raise RequestError("The JSON's brackets are nested too deeply.") from None


def _apart(text: bytes) -> tuple[bytes, dict[str, str]]:
    """Take the long texts out of a large JSON: Python's parser lets no other thread run before its end.

    Returns:
        The JSON with another text in the place of each, and what these stand for.
    """
    if json.detect_encoding(text) not in ("utf-8", "utf-8-sig"):
        raise RequestError(f"A JSON of more than {LONGEST_RECODED} bytes must be UTF-8.")
    pieces = text.removeprefix(codecs.BOM_UTF8).split(b'"')
    texts: dict[str, str] = {}
    wide = 0
    for number in _whole_texts(pieces):
        piece = pieces[number]
        if len(piece) <= LONG:
            continue
        decoded = _decoded(piece)
        if not decoded.isascii() and (wide := wide + len(piece)) > MOST_WIDE:
            raise RequestError(f"The texts of the JSON that are not ASCII have more than {MOST_WIDE} bytes.")
        name = f"\0{number}"
        texts[name] = decoded
        pieces[number] = json.dumps(name)[1:-1].encode()
    rest = b'"'.join(pieces)
    if len(rest) > LONGEST_RECODED:
        raise TooManyFields(f"The JSON has more than {LONGEST_RECODED} bytes beside its texts of more than {LONG}.")
    return rest, texts


def _whole_texts(pieces: list[bytes]) -> Iterator[int]:
    """Which of the pieces between quotation marks are whole texts."""
    inside = began = False
    for number, piece in enumerate(pieces[:-1]):
        # After an odd number of backslashes, a quotation mark belongs to the text.
        ends = not inside or (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 0
        if inside and began and ends:
            yield number
        inside, began = inside != ends, ends


def _decoded(piece: bytes) -> str:
    """What a text means, a stretch at a time; a wide character would make all others of a long one wide as well."""
    made = []
    start = 0
    while start < len(piece):
        stretch = piece[start : start + STRETCH]
        if start + STRETCH < len(piece) and (at := stretch.find(b"\\", -_ESCAPE)) >= 0:
            # No escape is cut in two.
            stretch = stretch[: len(stretch[:at].rstrip(b"\\"))] or stretch
        made.append(json.loads(b'"%b"' % stretch))
        start += len(stretch)
        if len(piece) > LONGEST_TEXT and not made[-1].isascii():
            raise RequestError(
                f"A text in the JSON is longer than {LONGEST_TEXT} bytes and is not plain; send images as base64 text."
            )
    return "".join(made)


def _filled(value: Any, texts: Mapping[str, str]) -> Any:
    """A value of the JSON with its long texts."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_filled(inner, texts) for inner in value]
    if isinstance(value, dict):
        return {texts.get(name, name): _filled(inner, texts) for name, inner in value.items()}
    return value
