"""Access rights on the data folder: its owner's alone, because it has password hashes, prompts and pictures."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sd_api.errors import ConfigurationError

# What this server keeps in its data folder; nothing else in there is touched.
OWN_FILES = ("lock", "reserve", "secret_key", "server.sqlite*", "blobs")


def make_private(folder: Path) -> None:
    """Take the rights of other users away from the data folder and from what the server has in it.

    On Windows nothing is done: there the folder has the rights of the one that it is in, and the platform's folder for
    data is its user's alone.

    Raises:
        ConfigurationError: the folder is another user's, has other files that would be closed as well, or is on a file
            system without access rights.
        OSError: the rights of a file cannot be changed.
    """
    if os.name != "posix":
        return
    folder = folder.resolve()
    if folder.stat().st_uid != os.geteuid():
        raise _refusal(folder, f"belongs to another user, who could read it; use a folder in it: {folder / 'server'}")
    if _is_open(folder):
        others = set(folder.iterdir()) - set(_own(folder))
        if others and not (folder / "server.sqlite").exists():
            raise _refusal(
                folder, "is open to other users and has other files in it; close it (chmod 700) or use another"
            )
        folder.chmod(stat.S_IRWXU)
        if _is_open(folder):
            raise _refusal(folder, "is open to other users, and its file system offers no way to close it; use another")
    for own in _own(folder):
        # "blobs" may be a link to a folder on a larger disk.
        place = own.resolve()
        for path in (place, *place.rglob("*")) if place.is_dir() else (place,):
            if _is_open(path) and not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXU)


def _own(folder: Path) -> Iterator[Path]:
    for pattern in OWN_FILES:
        yield from folder.glob(pattern)


def _is_open(path: Path) -> bool:
    return bool(path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _refusal(folder: Path, why: str) -> ConfigurationError:
    return ConfigurationError([f"data: {folder} {why}"])
