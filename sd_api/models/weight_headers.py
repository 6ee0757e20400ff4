"""The names and shapes of a part's weights, from the headers of the files that loading it reads."""

from pathlib import Path

from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.headers import read_header

Shapes = dict[str, tuple[int, ...]]
"""The shape of each tensor, by its name."""


def shapes_of(folder: Path, stem: str, variant: str | None) -> tuple[Shapes, bool]:
    """Read the headers of one part.

    Args:
        folder: of the part; its files have been checked.
        stem: how its library calls the file, such as ``model``.
        variant: such as ``fp16``, where the part has such weights; None for those without one.

    Returns:
        The shapes, and whether the weights are in several files.

    Raises:
        FileFaultError: the part has other files only.
    """
    files, sharded = _files(folder, stem, variant)
    shapes: Shapes = {}
    for file in files:
        shapes |= read_header(file).shapes
    return shapes, sharded


def _files(folder: Path, stem: str, variant: str | None) -> tuple[list[Path], bool]:
    for infix in ([f".{variant}"] if variant else []) + [""]:
        index = folder / f"{stem}.safetensors.index{infix}.json"
        if index.exists():
            return [folder / name for name in sorted(set(read_object(index)["weight_map"].values()))], True
        file = folder / f"{stem}{infix}.safetensors"
        if file.exists():
            return [file], False
    raise FileFaultError(folder, f"the weights are missing: there is no {stem}.safetensors")
