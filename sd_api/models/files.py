"""Checks the files of a model on this machine, without loading its weights and without torch."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import (
    MAX_VOCABULARY_BYTES,
    FileFaultError,
    foreign_files,
    head,
    read_object,
)
from sd_api.models.part_configs import check_config, has_folders
from sd_api.models.pipeline_files import missing_parts, parts, weight_files, why_unfit
from sd_api.models.sources import (
    MODEL_INDEX,
    PART_CONFIG,
    ModelDirectory,
    ModelFile,
    ModelSource,
    PartDirectory,
    parse_part,
    parse_source,
)
from sd_api.models.weight_formats import check_named_weights, check_weights

# The configuration file of a component, by a part of its class name; config.json for all others.
_CONFIGS = {
    "Scheduler": "scheduler_config.json",
    "Tokenizer": "tokenizer_config.json",
    "Processor": "preprocessor_config.json",
    "FeatureExtractor": "preprocessor_config.json",
}


def find_faults(source: ModelSource, without: Collection[str] = ()) -> list[str]:
    """Find the files of a model that are missing, truncated, of another kind, or not allowed.

    Of pickled weights only the first bytes are read; ``pickled.without_pickles`` reads the rest.

    Args:
        source: the model.
        without: the parts of a directory whose weights come from elsewhere.

    Returns:
        One line for each fault, which starts with the path of the file or folder. Always empty for a model
        on the hub, whose files are not checked.
    """
    if isinstance(source, ModelDirectory):
        return list(_directory_faults(source.path, without))
    if isinstance(source, ModelFile):
        return list(_faults(check_weights, source.path))
    return []


def find_source_faults(name: str | Path) -> list[str]:
    """Find the faults of a model's files from its name or path; an invalid name is a fault, too."""
    try:
        return find_faults(parse_source(name))
    except ModelUnavailable as error:
        return [error.message]


def find_part_faults(name: str) -> list[str]:
    """Find the faults of a part's files from its name or path, such as an autoencoder's; see ``parse_part``."""
    try:
        source = parse_part(name)
    except ModelUnavailable as error:
        return [error.message]
    if not isinstance(source, PartDirectory):
        return find_faults(source)
    try:
        config = read_object(source.path / PART_CONFIG)
    except FileFaultError as fault:
        return [str(fault)]
    return find_component_faults(source.path, "diffusers", str(config.get("_class_name")))


def find_component_faults(folder: Path, library: str, class_name: str) -> list[str]:
    """Find the faults of the files of one part in its folder.

    Args:
        folder: with its configuration and weights.
        library: see ``allowed_classes``.
        class_name: its class.
    """
    return list(_component_faults(folder, library, class_name))


def find_weight_faults(folder: Path) -> list[str]:
    """Find the faults of the weights of one part, whose configuration is elsewhere.

    Args:
        folder: with the weights, and their index where they are in several files.
    """
    return list(_model_faults(folder))


def _directory_faults(directory: Path, without: Collection[str]) -> Iterator[str]:
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
            yield from _component_faults(folder, library, class_name, weights=name not in without)


def _component_faults(folder: Path, library: str, class_name: str, *, weights: bool = True) -> Iterator[str]:
    config = folder / next((file for part, file in _CONFIGS.items() if part in class_name), PART_CONFIG)
    for other in ("adapter_config.json", "adapter_model.safetensors"):
        if (folder / other).exists():
            yield f"{folder / other}: additions to a part are not loaded with it; remove this file"
    # Where a pipeline of diffusers has a class of its own for a part, the configuration may name the original of it.
    names_code = library not in ("diffusers", "transformers")
    for file in sorted({config, *folder.glob("*config.json")}):
        yield from _faults(lambda path: check_config(path, names_code=names_code), file)
    if "Tokenizer" in class_name:
        yield from _vocabulary_faults(folder)
    elif config.name == PART_CONFIG and weights:
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
    """The faults of the weights that are read, in whichever precision."""
    names = [file.name for file in folder.iterdir()]
    files = dict.fromkeys([*weight_files(names, half=False), *weight_files(names, half=True)])
    if not files:
        yield f"{folder}: the weights are missing: there is neither a .safetensors nor a .bin file"
    # An index first, which says what is missing.
    for name in sorted(files, key=lambda name: not name.endswith(".json")):
        if name.endswith(".json"):
            yield from _shard_faults(folder / name)
        else:
            yield from _faults(check_named_weights, folder / name)


def _shard_faults(index: Path) -> Iterator[str]:
    suffix = ".bin" if ".bin." in index.name else ".safetensors"
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
