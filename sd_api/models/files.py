"""Checks the files of a model on this machine, without loading its weights and without torch."""

import logging
from collections.abc import Callable, Iterator
from os import SEEK_END
from pathlib import Path
from zipfile import is_zipfile

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import (
    MAX_VOCABULARY_BYTES,
    FileFaultError,
    check_safetensors,
    foreign_files,
    head,
    read_object,
)
from sd_api.models.part_configs import check_config, has_folders
from sd_api.models.pipeline_files import is_pickled_weights, missing_parts, parts, why_unfit
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
# The table of contents at the end of a zip archive has about 80 bytes for each tensor.
_ZIP_CONTENTS_BYTES = 4 * 1024**2
# The number 0x1950A86A20F9469CFC6C, pickled: the head of the files of torch.save before they became zip archives.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def find_faults(source: ModelSource) -> list[str]:
    """Find the files of a model that are missing, truncated, of another kind, or not allowed.

    Of pickled weights only the first bytes are read; ``pickled.without_pickles`` reads the rest.

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
    if foreign := list(foreign_files(directory, [path])):
        yield from foreign
        return
    try:
        index = read_object(path)
    except FileFaultError as fault:
        yield str(fault)
        return
    if "_class_name" not in index:
        yield f"{path}: it names no pipeline, which _class_name should do"
        return
    if reason := why_unfit(index, [file.relative_to(directory).as_posix() for file in directory.glob("*/*.py")]):
        yield f"{directory} {reason}"
        return
    for name in missing_parts(index):
        yield f"{path}: it names no {name}, which a {index['_class_name']} needs"
    for name, (library, class_name) in parts(index):
        folder = directory / name
        if not folder.is_dir():
            yield f"{folder}: this folder is missing, and {MODEL_INDEX} lists it"
        elif foreign := list(foreign_files(directory, [folder, *sorted(folder.iterdir())])):
            yield from foreign
        else:
            yield from _component_faults(folder, library, class_name)


def _component_faults(folder: Path, library: str, class_name: str) -> Iterator[str]:
    config = folder / next((file for part, file in _CONFIGS.items() if part in class_name), _MODEL_CONFIG)
    for other in ("adapter_config.json", "adapter_model.safetensors"):
        if (folder / other).exists():
            yield f"{folder / other}: additions to a part are not loaded with it; remove this file"
    # Where a pipeline of diffusers has a class of its own for a part, the configuration may name the original of it.
    names_code = library not in ("diffusers", "transformers")
    for file in sorted({config, *folder.glob("*config.json")}):
        yield from _faults(lambda path: check_config(path, names_code=names_code), file)
    if "Tokenizer" in class_name:
        yield from _vocabulary_faults(folder)
    elif config.name == _MODEL_CONFIG:
        yield from _model_faults(folder)


def _vocabulary_faults(folder: Path) -> Iterator[str]:
    whole = folder / "tokenizer.json"
    # T5's and Gemma's, in the format of the library sentencepiece.
    sentencepiece = sorted(folder.glob("*.model"))
    if whole.exists():
        yield from _faults(_read_vocabulary, whole)
    elif sentencepiece:
        yield from _faults(head, sentencepiece[0])
    elif (folder / "vocab.txt").exists():
        yield from _faults(head, folder / "vocab.txt")
    else:
        yield from _faults(_read_vocabulary, folder / "vocab.json")
        yield from _faults(head, folder / "merges.txt")


def _read_vocabulary(path: Path) -> None:
    read_object(path, MAX_VOCABULARY_BYTES)


def _model_faults(folder: Path) -> Iterator[str]:
    """The faults of the safetensors files, or of the pickled ones if there are no others."""
    for suffix in (".safetensors", ".bin"):
        files = sorted(file for file in folder.glob(f"*{suffix}") if suffix != ".bin" or is_pickled_weights(file.name))
        indexes = sorted(folder.glob(f"*{suffix}.index*.json"))
        for index in indexes:
            yield from _shard_faults(index, suffix)
        for file in files:
            yield from _faults(_check_weights, file)
        if files or indexes:
            return
    yield f"{folder}: the weights are missing: there is neither a .safetensors nor a .bin file"


def _shard_faults(index: Path, suffix: str) -> Iterator[str]:
    try:
        content = read_object(index)
    except FileFaultError as fault:
        yield str(fault)
        return
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not isinstance(content.get("metadata"), dict):
        yield f"{index}: it lists no files, which weight_map and metadata should do"
        return
    for name in sorted({str(name) for name in weight_map.values()}):
        if has_folders(name) or name.startswith(".") or not name.isprintable() or not name.endswith(suffix):
            yield f"{index}: it lists {shown(name)!r}, which is no name of a {suffix} file in its folder"
        elif not (index.parent / name).exists():
            yield f"{index.parent / name}: this file is missing, and {index.name} lists it"


def _faults(check: Callable[[Path], object], path: Path) -> Iterator[str]:
    try:
        check(path)
    except FileFaultError as fault:
        yield str(fault)


def _check_weights(path: Path) -> None:
    if path.suffix.lower() == ".safetensors":
        check_safetensors(path)
    else:
        _check_pickle(path)


def _check_pickle(path: Path) -> None:
    """Check the container only: what is pickled is read in a process of its own."""
    start = head(path)
    if start.startswith(_ZIP_MAGIC):
        if not is_zipfile(path):
            raise FileFaultError(path, "cut short or damaged; download it again")
        with path.open("rb") as file:
            file.seek(-min(_ZIP_CONTENTS_BYTES, path.stat().st_size), SEEK_END)
            if b"data.pkl" not in file.read():
                raise FileFaultError(path, "a zip archive of something else than weights")
    elif not start.startswith(_LEGACY_MAGIC):
        raise FileFaultError(path, "not a file of PyTorch weights")
    log.info("%s holds pickled weights; only tensors are taken from it, code is refused", path)
