"""Immutable contents as files, each under a unique name; a file that exists is complete."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from sd_api.errors import DiskFull
from sd_api.storage.disk import DISK_FULL, kept_free, translate_disk_errors

log = logging.getLogger(__name__)

# Seconds that a file may exist without being listed, because it is written first and listed afterwards.
GRACE = 3600.0


class ContentFiles:
    """A folder of files, in subfolders by the first two characters of their names.

    Args:
        folder: the folder, which is created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a content; it survives a power failure once this returns.

        Args:
            name: the name, in hexadecimal digits, which no other content has.
            content: the bytes.

        Raises:
            DiskFull: the disk is full or cannot be written.
        """
        with translate_disk_errors():
            self._write(self._path(name), content)

    def check_room(self, more: int, spare: int) -> None:
        """Raise DiskFull if so many more bytes would leave less than ``spare`` bytes, or a twentieth, of the disk."""
        disk = shutil.disk_usage(self._folder)
        if disk.free < more + kept_free(disk.total, spare):
            raise DiskFull(DISK_FULL)

    def read(self, name: str) -> bytes:
        """The content of that name.

        Raises:
            FileNotFoundError: there is no such content.
        """
        return self._path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Delete a content, if it exists; where the disk cannot be written, it is left to ``remove_all_but``."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("The file of a deleted image stays for now: %s", error)

    def remove_all_but(self, wanted: Set[str]) -> int:
        """Delete the files that are not in ``wanted`` and older than ``GRACE`` seconds; returns their number."""
        oldest = time.time() - GRACE
        # The temporary files of interrupted writes are among them, because no content has their names.
        unwanted = [path for path in self._folder.glob("??/*") if path.name not in wanted]
        return sum(_remove_older(path, oldest) for path in unwanted)

    def _write(self, path: Path, content: bytes) -> None:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._folder)
        # It is closed below, and then renamed.
        part = tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False)  # noqa: SIM115
        try:
            with part as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part.name, path)
        except OSError:
            # On a full disk, the incomplete file would take the room of everything else.
            with suppress(OSError):
                os.unlink(part.name)
            raise
        _sync_folder(path.parent)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _remove_older(path: Path, oldest: float) -> bool:
    try:
        if path.stat().st_mtime > oldest:
            return False
        path.unlink()
    except FileNotFoundError:
        # A temporary file that has been renamed meanwhile, or an image that was deleted.
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Have a new file name in a folder survive a power failure; Windows offers no way to do so."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
