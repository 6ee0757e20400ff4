"""The folder that holds everything that outlives the process, for one server at a time."""

import os
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from sd_api.errors import ConfigurationError


class DataFolder:
    """A folder that only its owner can look into, taken for as long as this process lives.

    Args:
        path: the folder; None is where the platform keeps such data. It is made if it is not there.

    Raises:
        ConfigurationError: it cannot be written, or another server works with it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(platformdirs.user_data_dir("sd-api-server", appauthor=False))
        self._lock = FileLock(self.path / "lock")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Where the process is killed, the system lets go of it.
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                [f"data: another server works with {self.path}. Stop it, or choose another folder with --data"]
            ) from None
        except OSError as error:
            raise ConfigurationError([f"data: {self.path} cannot be used: {error.strerror}"]) from None

    def secret(self, name: str, value: str) -> str:
        """What is kept in a file that only its owner can read; ``value`` if there is none yet.

        Args:
            name: of the file.
            value: what to keep from now on.

        Raises:
            ConfigurationError: it cannot be read or written.
        """
        path = self.path / name
        try:
            if not path.exists():
                self._write(path, value)
            return path.read_text().strip()
        except OSError as error:
            raise ConfigurationError([f"data: {path} cannot be used: {error.strerror}"]) from None

    def release(self) -> None:
        """Let another server have it."""
        self._lock.release()

    def _write(self, path: Path, text: str) -> None:
        """Make a file that is under its name only once it is whole: an empty secret would be worse than none."""
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
