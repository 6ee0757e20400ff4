"""Makes the settings out of a configuration file, the environment and the command line."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sd_api.errors import ConfigurationError
from sd_api.settings.document import Document, Location, Position, RepeatedKey, read_document
from sd_api.settings.faults import cite, problem, spell
from sd_api.settings.fields import absolute_if_local, is_address, is_no_token
from sd_api.settings.schema import REPEATED_URL_PATH, Settings, repeated_url_paths

# The setting of each environment variable; config.json takes these names as keys, too.
# Of two variables for one setting, the first one that is set counts.
VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "HUGGINGFACE_TOKEN": "hf_token",
        "HF_TOKEN": "hf_token",
        "SECRET_KEY": "secret_key",
        "ENABLE_PUBLIC_TOKEN": "enable_public_token",
        "ENABLE_SIGNUP": "enable_signup",
    }
)
# These variables make one setting together, unless the file has it.
REDIS_VARIABLES = ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD")
_NOTHING: Mapping[str, object] = MappingProxyType({})
_AFTER_THE_FILE = Position(sys.maxsize, 0)
# A token in the wrong place.
_ANY_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")


def load_settings(
    path: Path | None,
    overrides: Mapping[str, object] = _NOTHING,
    environment: Mapping[str, str] | None = None,
    check_source: Callable[[str], list[str]] | None = None,
    check_part: Callable[[str], list[str]] | None = None,
    find_scheduler: Callable[[str], str | None] | None = None,
) -> Settings:
    """Read and validate the configuration.

    A relative path in the file starts at the file's directory, one in the overrides at the working
    directory. What the file leaves out is taken from the environment (``VARIABLES``), and what is not
    set there from a file ``.env`` beside the configuration. Without a token anywhere, ``hf_token`` is
    ``None`` and the hub library uses the login stored on the machine.

    Args:
        path: the configuration file; ``None`` for the defaults.
        overrides: the command line's values by the name of their setting, stronger than the file's;
            ``None`` as a value means that the option was not given.
        environment: the environment variables; those of this process, and ``.env``, if ``None``.
        check_source: finds the faults of a model's files from its name or path, so that they are
            reported together with the others; ``None`` leaves the files unchecked.
        check_part: the same for a part of a model, such as an autoencoder.
        find_scheduler: finds the scheduler that a name means; ``None`` leaves names as they are.

    Raises:
        ConfigurationError: with one line for each fault: those in the file in its order, each with its
            line and column, then those in the overrides, each with its option (``--port``).
    """
    document = Document()
    unreadable: tuple[str, ...] = ()
    if path is not None:
        try:
            document = read_document(path, VARIABLES)
        except ConfigurationError as error:
            unreadable = error.faults

    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(model := given.get("model"), str):
        given["model"] = absolute_if_local(model, Path.cwd())
    if isinstance(data := given.get("data"), (str, Path)):
        given["data"] = Path.cwd() / data
    values = {**document.values, **given}
    outside = {name: f"--{name.replace('_', '-')}" for name in given}
    directory = path.absolute().parent if path else Path.cwd()
    environment = _environment(directory / ".env") if environment is None else environment
    for variable, name in VARIABLES.items():
        if _is_absent(name, values.get(name)) and not _is_absent(name, environment.get(variable)):
            values[name] = environment[variable]
            outside[name] = variable
    cluster = values.get("cluster") or {}
    if isinstance(cluster, dict) and "redis_url" not in cluster and (url := _redis_url(environment)):
        values["cluster"] = {**cluster, "redis_url": url}
        outside["cluster.redis_url"] = ", ".join(REDIS_VARIABLES)

    errors: list[ErrorDetails] = []
    try:
        context = {
            "directory": directory,
            "check_source": check_source,
            "check_part": check_part,
            "find_scheduler": find_scheduler,
        }
        settings = Settings.model_validate(values, context=context)
    except ValidationError as error:
        errors = error.errors()
    if unreadable or errors:
        raise ConfigurationError([*unreadable, *_in_order(errors, values, document, outside)])
    return settings


def _environment(file: Path) -> dict[str, str]:
    """The environment of this process, which overrides the variables of a file ``.env``."""
    try:
        variables = dotenv_values(file, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file} cannot be read: {error}"]) from None
    return {**{name: value for name, value in variables.items() if value is not None}, **os.environ}


def _redis_url(environment: Mapping[str, str]) -> str | None:
    host, port, password = (environment.get(variable) for variable in REDIS_VARIABLES)
    if not host:
        return None
    # An IPv6 address has brackets in a URL.
    place = f"[{host}]" if is_address(host) and ":" in host else host
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{place}:{port or 6379}"


def _is_absent(name: str, value: object) -> bool:
    return is_no_token(value) if name == "hf_token" else value in (None, "")


def _in_order(
    errors: list[ErrorDetails], values: Mapping[str, object], document: Document, outside: Mapping[str, str]
) -> list[str]:
    """One line for each fault, in the file's order.

    ``outside`` names the origin of each value that is not from the document.
    """
    faults: list[tuple[Position, str]] = []
    for location, text, of_key in (*_invalid(errors), *_repeated(values, document)):
        origin = outside.get(str(location[0])) or outside.get(spell(location))
        if origin is not None:
            faults.append((_AFTER_THE_FILE, f"{origin}: {text}"))
        else:
            position = document.position(location, of_key=of_key)
            place = f"{document.name}, line {position.line}, column {position.column}"
            faults.append((position, f"{place}: {spell(location)}: {text}"))
    return [_ANY_TOKEN.sub("hf_…", line) for _, line in sorted(faults, key=itemgetter(0))]


def _invalid(errors: list[ErrorDetails]) -> Iterator[tuple[Location, str, bool]]:
    for error in errors:
        if error["type"] != REPEATED_URL_PATH:
            of_key = error["type"] == "extra_forbidden" or isinstance(error["input"], RepeatedKey)
            yield error["loc"], problem(error), of_key


def _repeated(values: Mapping[str, object], document: Document) -> Iterator[tuple[Location, str, bool]]:
    # Repeated values are found here again, because pydantic finds them only if every model is valid by itself.
    models = values.get("custom_models")
    if not isinstance(models, list):
        return
    url_paths = [model.get("url_path") if isinstance(model, dict) else None for model in models]
    for first, again in repeated_url_paths(url_paths):
        owner = ("custom_models", first, "url_path")
        text = (
            f"{cite(url_paths[again])} came, but {spell(owner)} in line {document.position(owner).line} "
            "has it already; each model needs its own"
        )
        yield ("custom_models", again, "url_path"), text, False
