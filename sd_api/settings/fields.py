"""The types of single settings, each with its validation and the message that says what is valid."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

BACKSLASHES = r'write each backslash of a Windows path twice ("G:\\My Drive") or use slashes ("G:/My Drive")'

MODEL_FILES = "model_files"

_TEMPLATE_TOKEN = "your_hugging_face_token"  # noqa: S105  what the template has in the token's place
# Lone surrogates count as control characters: neither a terminal nor a file can take them.
_CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_URL_SEGMENT = r"(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+"
# RFC 7518 asks for a key as long as the hash: 256 bits.
_SHORTEST_SECRET = 32
_HUB_SEGMENT = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_HOST_NAME = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"


def is_no_token(value: object) -> bool:
    """Whether a value in the token's place stands for "no token": absent, blank or the template's own."""
    return value is None or (isinstance(value, str) and value.strip() in ("", _TEMPLATE_TOKEN))


def absolute_if_local(model: str, directory: Path) -> str:
    """Make the name of a model on this machine absolute, and leave the name of one on the hub as it is.

    Args:
        model: a hub id, or the path of a directory or file, where ``~`` is the user's home.
        directory: where a relative path starts.

    Returns:
        The absolute path, if ``model`` is one already or exists in ``directory``; else ``model``.
    """
    expanded = os.path.expanduser(model)
    path = directory / expanded
    return str(path) if os.path.isabs(expanded) or os.path.exists(path) else model


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address to listen on, can be reached from this computer alone."""
    host = host.lower().strip("[]")
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Whether ``host`` is a literal address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_files(source: object, info: ValidationInfo) -> object:
    """Check a model's files by the function in the validation context, so that their faults get a line and column."""
    check = (info.context or {}).get("check_source")
    if check is not None and (faults := check(str(source))):
        raise PydanticCustomError(MODEL_FILES, "{faults}", {"faults": "; ".join(faults)})
    return source


def _base_directory(info: ValidationInfo) -> Path:
    return info.context["directory"] if info.context else Path.cwd()


def _reject_control_characters(text: str) -> str:
    # "C:\new\table" is valid JSON and holds a line feed and a tab.
    found = re.search(f"[{_CONTROL_CHARACTERS}]", text)
    if found:
        raise ValueError(f"it contains the control character U+{ord(found[0]):04X}: {BACKSLASHES}")
    return text


def _token(value: object) -> object:
    if is_no_token(value):
        return None
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[!-~]+", value.strip()):
        raise ValueError("it should consist of plain letters, digits and signs, without spaces")
    return value.strip()


def _secret(value: object) -> object:
    if not isinstance(value, str):
        return value
    if 0 < len(value.strip().encode()) < _SHORTEST_SECRET:
        raise ValueError(
            f"it should have at least {_SHORTEST_SECRET} characters; "
            'python -c "import secrets; print(secrets.token_hex())" makes one'
        )
    return value.strip() or None


def _redis_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    valid = "it should be redis://host:6379, rediss://host:6379 for TLS, or unix:///path/of/the/socket"
    try:
        parts = urlsplit(value)
        valid_port = parts.port != 0
    except ValueError:
        raise ValueError(f"{valid}, with a port from 1 to 65535") from None
    place = {"redis": parts.hostname, "rediss": parts.hostname, "unix": parts.path}.get(parts.scheme)
    if not place or not valid_port:
        raise ValueError(valid)
    return value


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("it should be an address such as 127.0.0.1, or a network such as 10.0.0.0/8") from None


def _blobs_place(text: str) -> str:
    if text != "redis" and not re.match(r"[a-z][a-z0-9+.-]*://.", text) and not os.path.isabs(text):
        raise ValueError("it should be redis, the absolute path of a folder, or a URL such as s3://bucket/folder")
    return text


def _switch(value: object) -> object:
    # In an environment variable, any text but the empty one means true.
    return value != "" if isinstance(value, str) else value


def _local_path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, (str, Path)):
        return value
    text = os.fspath(value)
    if not text.strip():
        raise ValueError("it should not be empty")
    return _base_directory(info) / os.path.expanduser(_reject_control_characters(text))


def _model_source(text: str, info: ValidationInfo) -> str:
    return absolute_if_local(_reject_control_characters(text), _base_directory(info))


def _matching(pattern: str, valid: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"it should be {valid}")
        return text

    return AfterValidator(check)


Count = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)]
# Every JSON client represents these integers exactly.
ByteCount = Annotated[int, Strict(), Field(ge=1, le=2**53 - 1)]
Port = Annotated[int, Strict(), Field(ge=0, le=65535)]
Token = Annotated[SecretStr | None, BeforeValidator(_token)]
Secret = Annotated[SecretStr | None, BeforeValidator(_secret)]
Switch = Annotated[bool, Strict(), BeforeValidator(_switch)]
Folder = Annotated[Path, BeforeValidator(_local_path)]
LocalPath = Annotated[Path, BeforeValidator(_local_path), AfterValidator(_check_files)]
ModelSource = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(_model_source),
    AfterValidator(_check_files),
]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    _matching(f"[^{_CONTROL_CHARACTERS}]+", "one line of text without control characters"),
]
UrlPath = Annotated[
    str,
    _matching(
        f"{_URL_SEGMENT}(/{_URL_SEGMENT})*",
        'letters from A to Z, digits and "-._~", with single slashes between segments, '
        'none at either end, and no segment "." or ".."',
    ),
]
Address = Annotated[str, _matching(r"[^\s/]+", "the name or the address of a network interface, without http://")]
Host = Annotated[
    str,
    _matching(_HOST_NAME, "the name or the address alone, without http://, port, path or *"),
    AfterValidator(str.lower),
]
Origin = Annotated[
    str,
    # Some programs' web views send file:// for a page that is a file.
    AfterValidator(lambda text: text if text.endswith("://") else text.removesuffix("/")),
    _matching(
        rf"null|file://|[A-Za-z][A-Za-z0-9+.-]*://({_HOST_NAME})(:[0-9]{{1,5}})?",
        "scheme://host or scheme://host:port without a path, file:// or null",
    ),
    AfterValidator(str.lower),
]
Size = Annotated[
    str,
    _matching("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", "width and height in pixels, such as 512x768"),
]
HubId = Annotated[
    str,
    _matching(f"(?!.*(--|[.][.]))({_HUB_SEGMENT}/)?{_HUB_SEGMENT}", "the name of a model on the hub, as owner/name"),
]
Network = Annotated[str, AfterValidator(_network)]
# It may contain a password, so it is kept out of messages; so may the next one.
RedisUrl = Annotated[SecretStr, BeforeValidator(_redis_url)]
BlobsPlace = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_blobs_place)]
Device = Annotated[
    str,
    _matching("auto|cpu|mps|(cuda|xpu)(:[0-9]+)?", "auto, cpu, mps, cuda, cuda:0, cuda:1 …, xpu, xpu:0, xpu:1 …"),
]
