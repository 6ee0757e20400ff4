"""Decodes the texts of requests by the charset that the content type declares, UTF-8 without one."""

import contextlib
import json
from encodings import normalize_encoding
from encodings.aliases import aliases

from sd_api.errors import InvalidField, RequestError
from sd_api.imaging.json_text import LONGEST_RECODED

UTF_8 = "utf-8"

# Python's codecs of texts with a name outside of Python; the look-up of any other name would be remembered for ever.
# UTF-7 has two spellings of each text.
_KNOWN = {name for name in (*aliases, *aliases.values(), "koi8_u") if aliases.get(name, name) != "utf_7"}


class UnknownCharset(RequestError):
    """The content type declares a charset that is none."""

    status = 415


def find_charset(declared: str | None) -> str:
    """The charset to decode with.

    Args:
        declared: What the content type says; None or empty if it says nothing.

    Raises:
        UnknownCharset: There is no such charset.
    """
    if not declared:
        return UTF_8
    name = normalize_encoding(declared).lower()
    if name not in _KNOWN or not _is_text(name):
        raise UnknownCharset(f"The content type's charset is {declared[:40]!r}, which is not known here; send UTF-8.")
    return UTF_8 if aliases.get(name, name) == "utf_8" else name.replace("_", "-")


def decode_field(name: str, raw: bytes | memoryview, charset: str) -> str:
    """Decode the text of a field.

    Raises:
        InvalidField: It has bytes that the charset does not have.
    """
    try:
        return str(raw, charset)
    except UnicodeDecodeError:
        raise _wrong_bytes(name, charset) from None


def recode_json(raw: bytes, declared: str | None) -> bytes:
    """The same JSON text in an encoding of Unicode, which JSON readers recognise by themselves.

    Raises:
        UnknownCharset: The declared charset is not known.
        RequestError: The text is too long to be decoded twice.
        InvalidField: The text has bytes that the declared charset does not have.
    """
    charset = find_charset(declared)
    if charset.startswith("utf"):
        return raw
    if len(raw) > LONGEST_RECODED:
        raise RequestError(f"A JSON of more than {LONGEST_RECODED} bytes must be UTF-8.")
    try:
        return raw.decode(charset).encode()
    except UnicodeDecodeError as error:
        raise wrong_bytes_of_json(error.object, charset) from None


def wrong_bytes_of_json(raw: bytes, charset: str) -> InvalidField:
    """The error for a JSON text that the charset cannot decode; names the top-level field with the wrong bytes."""
    content = None
    if len(raw) <= LONGEST_RECODED:
        with contextlib.suppress(ValueError, RecursionError):
            # Each wrong byte becomes half a character.
            content = json.loads(raw.decode("ascii", "surrogateescape"))
    for name, value in content.items() if isinstance(content, dict) else ():
        try:
            # Halves of characters that the JSON itself has as escapes are none of its bytes.
            bytes_of_value = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
            bytes_of_value.decode(charset)
        except UnicodeDecodeError:
            return _wrong_bytes(name, charset)
        except UnicodeEncodeError:
            continue
    return _wrong_bytes("body", charset)


def _is_text(codec: str) -> bool:
    """Whether it makes text of bytes; some of Python's make other bytes, such as zlib's."""
    try:
        b"x".decode(codec)
    except UnicodeDecodeError:
        # One byte is not enough, as in UTF-16.
        return True
    except LookupError:
        return False
    return True


def _wrong_bytes(name: str, charset: str) -> InvalidField:
    return InvalidField(
        name[:100].encode(errors="replace").decode(),
        f"has bytes that are not {charset.upper()}; send UTF-8, or declare the charset in the content type, as in "
        "charset=iso-8859-1",
    )
