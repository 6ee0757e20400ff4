"""The files of a folder of adapters; knows no torch."""

from dataclasses import dataclass
from pathlib import Path

# Files that are listed; a folder has some hundreds.
MAX_LISTED = 10_000


@dataclass(frozen=True)
class AdapterFile:
    """A file on this machine, in the state in which it was found.

    Attributes:
        name: By which prompts name it: its path in the folder, without the suffix.
        path: The file.
        modified: When, in nanoseconds.
        size: In bytes.
    """

    name: str
    path: Path
    modified: int
    size: int


def list_embeddings(folder: Path | None) -> dict[str, AdapterFile]:
    """The embeddings of textual inversion in a folder, by the words that name them: their files' names."""
    return {file.name.rpartition("/")[2]: file for file in list_files(folder, ".safetensors", ".pt", ".bin")}


def list_files(folder: Path | None, *suffixes: str) -> list[AdapterFile]:
    """The files with one of some suffixes, also in the folders of a folder, by name; looked for anew by each call."""
    if folder is None or not folder.is_dir():
        return []
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes and path.is_file())
    files = []
    for path, _ in zip(paths, range(MAX_LISTED), strict=False):
        state = path.stat()
        name = path.relative_to(folder).with_suffix("").as_posix()
        files.append(AdapterFile(name, path, state.st_mtime_ns, state.st_size))
    return files
