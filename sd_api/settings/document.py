"""A JSON file as text, as data and as positions; knows nothing of what the settings mean."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import json_source_map

from sd_api.errors import ConfigurationError
from sd_api.settings.json_hints import hint

Location = Sequence[int | str]

_NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Position(NamedTuple):
    """A place in a text: line and column, both counted from 1, in characters."""

    line: int
    column: int


class RepeatedKey:
    """The value of a key that an object has more than once; no setting accepts it."""


@dataclass(frozen=True)
class Document:
    """A JSON object, and the position of each of its parts.

    Attributes:
        name: the file's name, for messages.
        values: the object; a repeated key's value is a ``RepeatedKey``.
        source_map: the start and end of each value and key, by JSON pointer, counted from 0.
        spelled: the keys that the file spells differently, by their name in ``values``.
    """

    name: str = ""
    values: Mapping[str, object] = field(default_factory=dict)
    source_map: Mapping[str, Any] = field(default_factory=lambda: json_source_map.calculate("{}"), repr=False)
    spelled: Mapping[str, str] = field(default_factory=dict)

    def position(self, location: Location, *, of_key: bool = False) -> Position:
        """The position of a value or of its key; of its parent if the value is absent or cannot be found.

        Args:
            location: keys and indexes, from the outermost in.
            of_key: whether to return the position of the key rather than of its value.
        """
        # The pointers of the map are not escaped, and have the spelling of the file.
        spelled = [self.spelled.get(str(part), part) if depth == 0 else part for depth, part in enumerate(location)]
        pointer = "".join(f"/{part}" for part in spelled)
        entry = self.source_map.get(pointer)
        if entry is None:
            return self.position(location[:-1])
        start = entry.key_start if of_key else entry.value_start
        return Position(start.line + 1, start.column + 1)


def read_document(path: Path, other_names: Mapping[str, str] = _NO_NAMES) -> Document:
    """Read a JSON object from a UTF-8, UTF-16 or UTF-32 file, with or without a byte order mark.

    Args:
        path: the file.
        other_names: aliases of keys, each with the name of the key in ``values``.

    Raises:
        ConfigurationError: the file cannot be read, or does not contain a JSON object.
    """
    document = _parse(_decode(_read_bytes(path), path.name), path.name)
    spelled = {other_names.get(key, key): key for key in document.values}
    values = _object([(other_names.get(key, key), value) for key, value in document.values.items()])
    return replace(document, values=values, spelled=spelled)


def _read_bytes(path: Path) -> bytes:
    if os.path.isdir(path):
        raise ConfigurationError([f"{path.absolute()} is a directory; name the file in it"])
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fault = (
            f"{path.absolute()} does not exist; copy the template config.json or config-custom-models.json "
            "there, name another file with --config, or start with --demo, which needs none"
        )
    except OSError as error:
        fault = f"{path.absolute()} cannot be read: {error.strerror}"
    raise ConfigurationError([fault])


def _decode(raw: bytes, name: str) -> str:
    encoding = json.detect_encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        position = _end_of(error.object[: error.start].decode(error.encoding))
        fault = (
            f"{name}, line {position.line}, column {position.column}: the byte "
            f"0x{error.object[error.start]:02X} is not {encoding.removesuffix('-sig').upper()}; "
            'save the file with the encoding "UTF-8"'
        )
    raise ConfigurationError([fault])


def _end_of(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _parse(text: str, name: str) -> Document:
    try:
        values = json.loads(text, object_pairs_hook=_object)
        source_map = json_source_map.calculate(text)
    except json.JSONDecodeError as error:
        fault = f"{name}, line {error.lineno}, column {error.colno}: {hint(error)}"
    except RecursionError:
        fault = f"{name}: its brackets are nested too deeply; three levels are all that it needs"
    except ValueError:
        # Python reads no integer beyond sys.get_int_max_str_digits().
        fault = f"{name}: it contains a number of thousands of digits"
    else:
        if isinstance(values, dict):
            return Document(name, values, source_map)
        position = Document(name, {}, source_map).position(())
        fault = f"{name}, line {position.line}, column {position.column}: the whole file should be one object: {{ … }}"
    raise ConfigurationError([fault])


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in pairs:
        values[key] = RepeatedKey() if key in values else value
    return values
