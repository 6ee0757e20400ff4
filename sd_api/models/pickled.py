"""Has pickled weights converted to safetensors by another process, once: this one never reads a pickle.

The copies stay in the hub's cache folder until the model changes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from filelock import FileLock

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.confinement import seconds_for
from sd_api.models.copies import NoRoomError, lock_of, make_copy, mark_used, place_of
from sd_api.models.files import find_faults, find_part_faults
from sd_api.models.pipeline_files import CONFIG_SUFFIXES, needed_files, weight_files
from sd_api.models.sources import MODEL_INDEX, PART_CONFIG, ModelDirectory, ModelFile, PartDirectory
from sd_api.models.weight_formats import format_of

_READER = "sd_api.models.pickle_reader"
_PACKAGES = Path(__file__).parents[2]
_SINGLE_FILE = "model.safetensors"
# What a copy holds beside the weights; those of earlier versions of this server are made anew.
_LAYOUT = "with the steps of the training"
_LONGEST_ANSWER = 10_000
# What Python, torch and the loader of libraries need; no secret is among them.
_VARIABLES = (
    "PATH",
    "HOME",
    "USERPROFILE",
    "LANG",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
)


Source = TypeVar("Source", ModelDirectory, ModelFile, PartDirectory)


def without_pickles(source: Source) -> Source:
    """The same model, or part of one, with all its weights as safetensors.

    Args:
        source: a model or a part whose files have no faults.

    Returns:
        The model itself, if none of its weights are pickled.

    Raises:
        ModelUnavailable: pickled weights hold code, or cannot be read within bounds of time and memory.
    """
    files = _files(source)
    if not any(_is_pickled(file) for file in files.values()):
        return source
    try:
        place = place_of(source.path, "safetensors", _LAYOUT)
        copy = type(source)(place / _SINGLE_FILE if isinstance(source, ModelFile) else place)
        with FileLock(lock_of(place)):
            if not place.is_dir() or _faults(copy):
                size = sum(file.stat().st_size for file in files.values())
                make_copy(place, size, lambda folder: _fill(folder, files))
            mark_used(place)
    except (NoRoomError, OSError) as error:
        raise ModelUnavailable(f"{source.path} cannot be converted to safetensors: {error}.") from None
    return copy


def _faults(copy: ModelDirectory | ModelFile | PartDirectory) -> list[str]:
    return find_part_faults(str(copy.path)) if isinstance(copy, PartDirectory) else find_faults(copy)


def _files(source: ModelDirectory | ModelFile | PartDirectory) -> dict[str, Path]:
    """The files that a copy consists of: their names there, and where they come from."""
    if isinstance(source, ModelFile):
        return {_SINGLE_FILE: source.path}
    directory = source.path
    if isinstance(source, PartDirectory):
        weights = weight_files([file.name for file in directory.iterdir()], half=False)
        return {_renamed(name): directory / name for name in (PART_CONFIG, *weights)}
    names = [file.relative_to(directory).as_posix() for file in directory.glob("*/*")]
    needed = needed_files(read_object(directory / MODEL_INDEX), names, half=False)
    return {_renamed(name): directory / name for name in (MODEL_INDEX, *needed)}


def _renamed(name: str) -> str:
    """The name of a weight file in the other format; other names stay."""
    folder, slash, file = name.rpartition("/")
    if not re.search(r"\.bin(\.index(\.\w+)?\.json)?$", file):
        return name
    return folder + slash + file.removeprefix("pytorch_").replace(".bin", ".safetensors")


def _fill(folder: Path, files: Mapping[str, Path]) -> None:
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_pickled(file):
            _convert(file, target)
        elif ".bin.index." in file.name:
            index = read_object(file)
            shards = {tensor: _renamed(shard) for tensor, shard in index["weight_map"].items()}
            target.write_text(json.dumps(index | {"weight_map": shards}), encoding="utf-8")
        else:
            _share(file.resolve(), target)


def _is_pickled(file: Path) -> bool:
    if file.suffix in CONFIG_SUFFIXES:
        return False
    # What is no weights at all is not needed, or its faults have been found before.
    with suppress(FileFaultError):
        return format_of(file) == "pickle"
    return False


def _share(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        # They are on different disks, or the file system has no links.
        shutil.copyfile(file, target)


def _convert(file: Path, target: Path) -> None:
    """Have another process convert a file; it may take twice as long as it may compute.

    Raises:
        ModelUnavailable: the file is refused.
    """
    answer = _ask_reader(file, target)
    if "code" in answer:
        raise ModelUnavailable(
            f"{file} was refused: beside its weights it holds Python code ({shown(answer['code'])}), which would "
            "run while the file is read. Get the model as a .safetensors file, which cannot hold code."
        )
    if "problem" in answer:
        raise unreadable(file, shown(answer["problem"], 200))


def _ask_reader(file: Path, target: Path) -> dict[str, Any]:
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", _READER, str(file.absolute()), str(target.absolute())]
    with TemporaryFile() as output:
        try:
            subprocess.run(  # noqa: S603 - this program itself
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=2 * seconds_for(file.stat().st_size),
                check=True,
            )
            output.seek(0)
            answer: dict[str, Any] = json.loads(output.read(_LONGEST_ANSWER))
        except (subprocess.SubprocessError, ValueError) as error:
            status = getattr(error, "returncode", None)
            if status is not None and status > 0:
                raise unreadable(file, f"the process that reads it failed with status {status}") from None
            # It was ended by the system, or by us.
            raise unreadable(file, "reading it takes more memory or time than a file of its size should need") from None
    return answer


def unreadable(path: Path, reason: str) -> ModelUnavailable:
    """The error for a file that cannot be read."""
    return ModelUnavailable(
        f"{path} cannot be read as a model file: {reason}. It may be damaged, or its download incomplete; get it again."
    )
