"""The folder with all data that outlives the process; one server at a time uses it."""

import os
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from sd_api.errors import ConfigurationError
from sd_api.storage.privacy import make_private


class DataFolder:
    """A folder with access for its owner only, locked while this process lives.

    Args:
        path: the folder, which is created if it does not exist; None is the platform's folder for such data.

    Raises:
        ConfigurationError: the folder cannot be written, cannot be closed to other users, or another server uses it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(platformdirs.user_data_dir("sd-api-server", appauthor=False))
        self._lock = FileLock(self.path / "lock", mode=0o600)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(self.path)
            # The operating system releases the lock if the process is killed.
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                [f"data: another server works with {self.path}. Stop it, or choose another folder with --data"]
            ) from None
        except OSError as error:
            raise ConfigurationError([f"data: {self.path} cannot be used: {error.strerror}"]) from None

    def secret(self, name: str, value: str) -> str:
        """The secret in a file that only its owner can read; the file is created if it does not exist.

        Args:
            name: the name of the file.
            value: the secret for a new file.

        Raises:
            ConfigurationError: the file cannot be read or written.
        """
        path = self.path / name
        try:
            if not path.exists():
                self._write(path, value)
            return path.read_text().strip()
        except OSError as error:
            raise ConfigurationError([f"data: {path} cannot be used: {error.strerror}"]) from None

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def _write(self, path: Path, text: str) -> None:
        """Create a file under its name only once it is complete, because an empty secret would be worse than none."""
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
