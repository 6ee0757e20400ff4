"""Checks the files of a model on this machine, without loading its weights and without torch."""

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open

from sd_api.errors import ModelUnavailable
from sd_api.models.pipeline_files import why_unfit
from sd_api.models.sources import MODEL_INDEX, ModelDirectory, ModelFile, ModelSource, parse_source

log = logging.getLogger(__name__)

# The configuration file of a component, by a part of its class name; config.json for all others.
_CONFIGS = {
    "Scheduler": "scheduler_config.json",
    "Tokenizer": "tokenizer_config.json",
    "Processor": "preprocessor_config.json",
    "FeatureExtractor": "preprocessor_config.json",
}
_MODEL_CONFIG = "config.json"

_ZIP_MAGIC = b"PK\x03\x04"
# The first bytes of the files of torch.save before they became zip archives.
_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


class _FileFaultError(Exception):
    """One file is invalid; the text is the line to report."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def find_faults(source: ModelSource) -> list[str]:
    """Find the files of a model that are missing, truncated, or of another kind.

    Returns:
        One line for each fault, which starts with the path of the file or folder. Always empty for a model
        on the hub, whose files are not checked.
    """
    if isinstance(source, ModelDirectory):
        return list(_directory_faults(source.path))
    if isinstance(source, ModelFile):
        return list(_faults(_check_weights, source.path))
    return []


def find_source_faults(name: str | Path) -> list[str]:
    """Find the faults of a model's files from its name or path; an invalid name is a fault, too."""
    try:
        return find_faults(parse_source(name))
    except ModelUnavailable as error:
        return [error.message]


def _directory_faults(directory: Path) -> Iterator[str]:
    path = directory / MODEL_INDEX
    try:
        index = _read_object(path)
    except _FileFaultError as fault:
        yield str(fault)
        return
    if "_class_name" not in index:
        yield f"{path}: it names no pipeline, which _class_name should do"
    elif reason := why_unfit(index, [file.relative_to(directory).as_posix() for file in directory.glob("*/*.py")]):
        yield f"{directory} {reason}"
    for name, value in index.items():
        # A component is [library, class], or [null, null] if the model has none.
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            yield from _component_faults(directory / name, class_name=value[-1])


def _component_faults(folder: Path, class_name: str) -> Iterator[str]:
    if not folder.is_dir():
        yield f"{folder}: this folder is missing, and {MODEL_INDEX} lists it"
        return
    config = next((file for part, file in _CONFIGS.items() if part in class_name), _MODEL_CONFIG)
    yield from _faults(_read_object, folder / config)
    if "Tokenizer" in class_name:
        yield from _vocabulary_faults(folder)
    elif config == _MODEL_CONFIG:
        yield from _model_faults(folder)


def _vocabulary_faults(folder: Path) -> Iterator[str]:
    whole = folder / "tokenizer.json"
    # T5's and Gemma's, in the format of the library sentencepiece.
    sentencepiece = sorted(folder.glob("*.model"))
    if whole.exists():
        yield from _faults(_read_object, whole)
    elif sentencepiece:
        yield from _faults(_head, sentencepiece[0])
    elif (folder / "vocab.txt").exists():
        yield from _faults(_head, folder / "vocab.txt")
    else:
        yield from _faults(_read_object, folder / "vocab.json")
        yield from _faults(_head, folder / "merges.txt")


def _model_faults(folder: Path) -> Iterator[str]:
    """The faults of the safetensors files, or of the pickled ones if there are no others."""
    for suffix in (".safetensors", ".bin"):
        files = sorted(folder.glob(f"*{suffix}"))
        indexes = sorted(folder.glob(f"*{suffix}.index*.json"))
        for index in indexes:
            yield from _shard_faults(index)
        for file in files:
            yield from _faults(_check_weights, file)
        if files or indexes:
            return
    yield f"{folder}: the weights are missing: there is neither a .safetensors nor a .bin file"


def _shard_faults(index: Path) -> Iterator[str]:
    try:
        weight_map = _read_object(index).get("weight_map")
    except _FileFaultError as fault:
        yield str(fault)
        return
    if not isinstance(weight_map, dict):
        yield f"{index}: it lists no files, which weight_map should do"
        return
    for shard in sorted({str(name) for name in weight_map.values()}):
        if not (index.parent / shard).exists():
            yield f"{index.parent / shard}: this file is missing, and {index.name} lists it"


def _faults(check: Callable[[Path], object], path: Path) -> Iterator[str]:
    try:
        check(path)
    except _FileFaultError as fault:
        yield str(fault)


def _read_object(path: Path) -> dict[str, Any]:
    _head(path)
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise _FileFaultError(path, f"not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise _FileFaultError(path, "not valid JSON: it is not UTF-8 text") from None
    if not isinstance(content, dict):
        raise _FileFaultError(path, "it should hold a JSON object: { … }")
    return content


def _check_weights(path: Path) -> None:
    if path.suffix.lower() == ".safetensors":
        _check_safetensors(path)
    else:
        _check_pickle(path)


def _check_safetensors(path: Path) -> None:
    _head(path)
    try:
        # This compares the length of the file with its header, so it finds incomplete downloads.
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        reason = str(error).rpartition(": ")[2]
        raise _FileFaultError(path, f"cut short or damaged ({reason}); download it again") from None


def _check_pickle(path: Path) -> None:
    """Check the container only: unpickling is left to the loader, which accepts weights and refuses code."""
    head = _head(path)
    if head.startswith(_ZIP_MAGIC):
        try:
            with ZipFile(path) as archive:
                names = archive.namelist()
        except BadZipFile:
            raise _FileFaultError(path, "cut short or damaged; download it again") from None
        if not any(name.endswith("data.pkl") for name in names):
            raise _FileFaultError(path, "a zip archive of something else than weights")
    elif not head.startswith(_LEGACY_MAGIC):
        raise _FileFaultError(path, "not a file of PyTorch weights")
    log.info("%s holds pickled weights; only tensors are taken from it, code is refused", path)


def _head(path: Path) -> bytes:
    """The first bytes of a file, which must be readable and no placeholder for another file."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise _FileFaultError(path, "this file is missing") from None
    except OSError as error:
        raise _FileFaultError(path, f"it cannot be read: {error.strerror}") from None
    if not head:
        raise _FileFaultError(path, "this file is empty; download it again")
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise _FileFaultError(
            path, 'a Git LFS pointer instead of the file itself; run "git lfs pull" in its repository'
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise _FileFaultError(path, "a web page instead of the file itself; download it again")
    return head
