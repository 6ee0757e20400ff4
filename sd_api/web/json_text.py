"""Parses JSON at a cost that is bounded by its size, whatever is in it."""

import codecs
import json
import re
from typing import Any

from flask.json.provider import DefaultJSONProvider

from sd_api.errors import RequestError
from sd_api.web.charsets import LONGEST_RECODED
from sd_api.web.reading import LONGEST_TEXT, TooManyFields

# Values and brackets in a JSON text.
MOST_VALUES = 200_000

# Bytes of the texts that are not ASCII, in a JSON with pictures; prompts have some thousands.
MOST_WIDE = 4 * LONGEST_TEXT

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
# An escape of an ASCII character, such as that of + in base64, is none of these.
_WIDE_ESCAPE = re.compile(rb"\\u(?!00[0-7])")


class BoundedJson(DefaultJSONProvider):
    """Refuses a JSON text that would cost more than its size, before it is parsed.

    Objects are written as they are: a form shows the fields in the order of their declaration.
    """

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See the base class.

        Raises:
            TooManyFields: it has more values than anything here takes.
            RequestError: its brackets are nested too deeply, or a long text in it has other characters than ASCII.
        """
        text = s.encode("utf-8", "surrogatepass") if isinstance(s, str) else s
        # Commas in texts count as well; a prompt has some hundreds.
        values = sum(map(text.count, (b",", b"[", b"{")))
        # A value has a name and a text, with two quotation marks each.
        if max(values, text.count(b'"') // 4) > MOST_VALUES:
            raise TooManyFields(f"The JSON has more than {MOST_VALUES} values.")
        try:
            return super().loads(text if len(text) <= LONGEST_RECODED else _narrow(text), **kwargs)
        except RecursionError:
            raise RequestError("The JSON's brackets are nested too deeply.") from None


def _narrow(text: bytes) -> bytes:
    """The same JSON in ASCII: a single emoji would make every character of the decoded text take four bytes."""
    if json.detect_encoding(text) not in ("utf-8", "utf-8-sig"):
        raise RequestError(f"A JSON of more than {LONGEST_RECODED} bytes must be UTF-8.")
    pieces = text.removeprefix(codecs.BOM_UTF8).split(b'"')
    wide = [number for number, piece in enumerate(pieces) if not piece.isascii()]
    if any(len(piece) > LONGEST_TEXT and _WIDE_ESCAPE.search(piece) for piece in pieces) or any(
        len(pieces[number]) > LONGEST_TEXT for number in wide
    ):
        raise RequestError(
            f"A text in the JSON is longer than {LONGEST_TEXT} bytes and is not plain; send images as base64 text."
        )
    if sum(len(pieces[number]) for number in wide) > MOST_WIDE:
        raise RequestError(f"The texts of the JSON that are not ASCII have more than {MOST_WIDE} bytes.")
    for number in wide:
        pieces[number] = _BEYOND_ASCII.sub(_escape, pieces[number])
    return b'"'.join(pieces) if wide else text


def _escape(found: re.Match[bytes]) -> bytes:
    return json.dumps(found[0].decode())[1:-1].encode()
