"""A full disk: its errors, and the room that is kept for deletions."""

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sd_api.errors import DiskFull

log = logging.getLogger(__name__)

DISK_FULL = (
    "The disk that this server keeps things on is full or cannot be written. Nothing is lost; try again when there is "
    "room."
)

# No room, no room for this user, no room in one file, mounted read-only, broken, or not permitted any more.
_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM})

# Bytes of the reserve: as many as SQLite's journal takes until it begins anew.
RESERVE_BYTES = 4 << 20

# Of a small disk this share stays free, rather than as many bytes as the configuration says.
SMALLEST_SHARE = 20

# Seconds that deletions wait for the additions under way, which would take the room of the reserve.
PATIENCE = 5.0


def kept_free(total: int, wanted: int) -> int:
    """The bytes that stay free on a disk of ``total`` bytes where the configuration wants ``wanted``."""
    return min(wanted, total // SMALLEST_SHARE)


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Raise DiskFull for the errors of a disk that is full or cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FAULTS:
            raise
        raise disk_full(error) from None


def disk_full(error: Exception) -> DiskFull:
    """The error for clients; the log has the reason."""
    log.warning("The disk cannot be written: %s", error)
    return DiskFull(DISK_FULL)


class Reserve:
    """A file that takes up room, so that there is some for deletions when the disk is full.

    While the room is given up, nothing is added: the disk is full until the file can be written again.

    Args:
        path: the file.
        size: its bytes.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size
        self._kept = path.exists() and path.stat().st_size == size
        self._adding = 0
        self._changed = threading.Condition()

    @contextmanager
    def adding(self) -> Iterator[None]:
        """A block that writes something new.

        Raises:
            DiskFull: the disk has not even room for the reserve.
        """
        with self._changed:
            self._keep()
            self._adding += 1
        try:
            yield
        finally:
            with self._changed:
                self._adding -= 1
                self._changed.notify_all()

    def give_up(self) -> None:
        """Make room for a deletion, once the additions under way are over."""
        with self._changed:
            self._kept = False
            self._changed.wait_for(lambda: not self._adding, PATIENCE)
            with translate_disk_errors():
                self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        if self._kept:
            return
        try:
            with translate_disk_errors(), open(self._path, "wb", opener=_private) as file:
                # Of a file of zeros, some file systems keep only the length.
                file.write(os.urandom(self._size))
                file.flush()
                os.fsync(file.fileno())
        except DiskFull:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise
        self._kept = True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
