"""Checks the configurations of a model's parts: none leads the libraries to code, to other files or to endless work."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.pipeline_files import CODE_KEYS

# The libraries make tables of these lengths before they see the weights. Published networks have up to ten million
# positions and about a hundred layers, and their schedulers 1,000 steps.
_MAX_NUMBERS = {"config.json": 20_000_000, "scheduler_config.json": 1_000_000}
_MAX_LAYERS = 1_000
# Each gets a name in the memory of transformers. ImageNet has 21,841.
_MAX_LABELS = 30_000

_LAYERS = re.compile(r"(^|_)(layers|n_layer)(_|$)")


def check_config(path: Path, *, names_code: bool) -> None:
    """Check one file.

    Args:
        path: such as ``config.json``.
        names_code: whether the configuration may name code, which is not used.

    Raises:
        FileFaultError: it is missing, damaged or refused.
    """
    for name, value in _settings(read_object(path)):
        setting = f"its {shown(name)}"
        if name in CODE_KEYS and value and not names_code:
            raise FileFaultError(path, f"{setting} names Python code of the model, which this server does not run")
        if name == "quantization_config" and value:
            raise FileFaultError(path, f"{setting} says that its weights are quantized, and such are not read")
        if name.endswith("attn_implementation") and any("/" in text for text in _texts(value)):
            raise FileFaultError(path, f"{setting} names code to download, which this server does not run")
        if name == "transformers_weights" or (name.endswith("_file") and any(map(has_folders, _texts(value)))):
            raise FileFaultError(path, f"{setting} names another file, which is not read")
        most = _MAX_NUMBERS.get(path.name)
        if most is None:
            continue
        if path.name == "config.json" and isinstance(value, list) and len(value) > _MAX_LAYERS:
            raise FileFaultError(path, f"{setting} has {len(value):,} entries, and {_MAX_LAYERS:,} are the most")
        most = _MAX_LAYERS if _LAYERS.search(name) else _MAX_LABELS if name == "num_labels" else most
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > most:
                raise FileFaultError(path, f"{setting} is {shown(number)}, and {most:,} is the most")


def has_folders(name: str) -> bool:
    """Whether a file's name leads to another folder, on any platform."""
    # Some tools write the file beside the configuration in this way.
    plain = name.removeprefix("./")
    return PurePosixPath(plain).name != plain or PureWindowsPath(plain).name != plain


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a configuration, and of those inside it."""
    for name, value in config.items():
        yield name, value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from _settings(inner)


def _texts(value: object) -> list[str]:
    values = value.values() if isinstance(value, dict) else [value]
    return [text for text in values if isinstance(text, str)]
