"""Copies of models in the hub's cache folder: made once, whole or not at all, and used until the model changes."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import cached_assets_path

# The bytes of all copies. Those that were used last stay.
MAX_BYTES = 128 * 1024**3


class NoRoomError(Exception):
    """The disk is too full for a copy."""


def place_of(path: Path, kind: str, variant: str = "") -> Path:
    """The folder for a copy, named by the model's path and by the sizes and times of its files.

    Args:
        path: the model's directory or file.
        kind: copies of the same model and kind replace each other.
        variant: what distinguishes them beside the model's files.
    """
    path = path.resolve()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    state = [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    model, contents = _digest(f"{kind} {path}"), _digest(json.dumps([*state, variant]))
    return cached_assets_path("sd-api-server", "converted") / f"{model}.{contents}"


def lock_of(place: Path) -> Path:
    """The file to lock while a copy is made."""
    return place.with_suffix(".lock")


def mark_used(place: Path) -> None:
    """Have a copy outlive those that were used before it."""
    os.utime(place)


def make_copy(place: Path, needed: int, fill: Callable[[Path], None]) -> None:
    """Make a copy; older and incomplete copies of the model are deleted. For the holder of the lock.

    Args:
        place: see ``place_of``.
        needed: its size in bytes.
        fill: writes it into the folder that it is called with, which does not exist yet.

    Raises:
        NoRoomError: the disk is too full.
    """
    for other in place.parent.glob(f"{place.stem}.*"):
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
    # Room for the copy and as much again, because a full disk is worse than a slow start.
    if shutil.disk_usage(place.parent).free < 2 * needed:
        raise NoRoomError(f"the disk of {place.parent} is nearly full")
    unfinished = place.with_name(f"{place.name}.unfinished")
    try:
        fill(unfinished)
        unfinished.rename(place)
    finally:
        # If the disk is full, the incomplete copy must not stay.
        shutil.rmtree(unfinished, ignore_errors=True)
    _delete_oldest(place)


def _delete_oldest(newest: Path) -> None:
    copies = [folder for folder in newest.parent.iterdir() if folder.is_dir()]
    size = 0
    for copy in sorted(copies, key=lambda folder: folder.stat().st_mtime_ns, reverse=True):
        size += sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
        if size > MAX_BYTES and copy != newest:
            shutil.rmtree(copy, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
