"""Immutable contents as files, named by their hash or by another unique name; a file that exists is complete."""

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Set
from pathlib import Path

from sd_api.errors import StoreUnavailable

DISK_FULL = "The disk that this server keeps things on is full. Nothing is lost; try again when there is room."

# Seconds that a file may exist without being listed, because it is written first and listed afterwards.
GRACE = 3600.0


class ContentFiles:
    """A folder of files, in subfolders by the first two digits of their names.

    Args:
        folder: the folder, which is created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Held while a file's time is renewed or a file is deleted, so that no renewed file is deleted.
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, digest: str, content: bytes) -> None:
        """Write a content; it survives a power failure once this returns.

        Args:
            digest: the hash of the content, in hexadecimal digits.
            content: the bytes.

        Raises:
            StoreUnavailable: the disk is full.
        """
        path = self._path(digest)
        with self._lock:
            if path.exists():
                os.utime(path)
                return
        try:
            self._write(path, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreUnavailable(DISK_FULL) from None
            raise

    def check_room(self, more: int, spare: int) -> None:
        """Raise StoreUnavailable if so many more bytes would leave less than ``spare`` bytes on the disk."""
        if shutil.disk_usage(self._folder).free < more + spare:
            raise StoreUnavailable(DISK_FULL)

    def read(self, digest: str) -> bytes:
        """The content with that hash.

        Raises:
            FileNotFoundError: there is no such content.
        """
        return self._path(digest).read_bytes()

    def remove(self, digest: str) -> None:
        """Delete a content, if it exists."""
        self._path(digest).unlink(missing_ok=True)

    def remove_all_but(self, wanted: Set[str]) -> int:
        """Delete the files that are not in ``wanted`` and older than ``GRACE`` seconds; returns their number."""
        oldest = time.time() - GRACE
        # The temporary files of interrupted writes are among them, because their names are no hashes.
        unwanted = [path for path in self._folder.glob("??/*") if path.name not in wanted]
        return sum(self._remove(path, oldest) for path in unwanted)

    def _write(self, path: Path, content: bytes) -> None:
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
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
            os.unlink(part.name)
            raise
        _sync_folder(path.parent)

    def _remove(self, path: Path, oldest: float) -> bool:
        with self._lock:
            try:
                if path.stat().st_mtime > oldest:
                    return False
            except FileNotFoundError:
                # A temporary file that has been renamed meanwhile.
                return False
            path.unlink()
            return True

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


def _sync_folder(folder: Path) -> None:
    """Have a new file name in a folder survive a power failure; Windows offers no way to do so."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
