"""Hints for JSON syntax errors: the probable mistake, and what to write instead."""

import json
import re

from sd_api.settings.fields import BACKSLASHES

_CLOSING_QUOTE = f"if the text ends in a backslash, {BACKSLASHES}"
_FLAT_ARRAY = "custom_models is one flat array of objects, not several: [ { … }, { … } ]"

# Regular expressions for the parser's message, the text before the error and the text after it; the first row that
# matches has the hint.
_HINTS = (
    ("", r"^\s*$", r"^\s*$", "the file is empty; copy a template, or write { } for all defaults"),
    ("", "", "^$", "the file ends too early: a closing } or ] is missing"),
    (r"Invalid \\", "", "", f"a single backslash has a special meaning: {BACKSLASHES}"),
    ("Invalid control", "", "^[\r\n]", f"the closing double quote is missing; {_CLOSING_QUOTE}"),
    ("Invalid control", "", "", r"a tab or control character stands in a text; write \t, or a space"),
    ("Unterminated", "", "", f"the closing double quote of this text is missing; {_CLOSING_QUOTE}"),
    ("trailing comma", "", "", "there is a comma after the last item; remove it"),
    ("", r",\s*$", r"^[\]}]", "there is a comma after the last item; remove it"),
    ("", "", "^(//|/\\*|#)", "JSON has no comments; remove this one"),
    ("", "", "^['`\u2018-\u201f\u00ab\u00bb]", 'only straight double quotes (") enclose a text'),
    ("", "", r"^(True|False|None)\b", "true, false and null are written in small letters"),
    ("property name", "", r"^[\[{]", _FLAT_ARRAY),
    ("',' delimiter", r"\]\s*$", r"^\[", _FLAT_ARRAY),
    ("',' delimiter", "", '^["\\[{]', "a comma is missing before this"),
    ("',' delimiter", r'"\s*$', "", r'here should be a comma or the end; a " inside a text is written \"'),
    ("',' delimiter", "", "", "here should be a comma, } or ]"),
    ("':' delimiter", "", "", "here should be a colon, between the key and its value"),
    ("property name", "", "", "here should be a key in double quotes"),
    ("Expecting value", "", "", "here should be a value; a text needs double quotes around it"),
    ("Extra data", "", "", "the file should end here, after the bracket that closes the first one"),
)


def hint(error: json.JSONDecodeError) -> str:
    """Explain a JSON syntax error without citing the file's text."""
    before, after = error.doc[: error.pos], error.doc[error.pos :]
    return next(
        (
            text
            for message, preceding, following, text in _HINTS
            if re.search(message, error.msg) and re.search(preceding, before) and re.search(following, after)
        ),
        error.msg,
    )
