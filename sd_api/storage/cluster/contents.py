"""The contents of images that many machines share: in Redis, in a folder, or in any file system of fsspec."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import fsspec
import redis
from fsspec.implementations.local import LocalFileSystem

from sd_api.cluster.connection import translate_redis_errors
from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.storage.files import ContentFiles

log = logging.getLogger(__name__)

IN_REDIS = "redis"


class Contents(Protocol):
    """Stores immutable bytes by name."""

    def check_room(self, more: int, spare: int) -> None:
        """Raise StoreUnavailable if it is known that so many more bytes would leave less than ``spare`` bytes."""

    def write(self, name: str, content: bytes) -> None:
        """Store a content; it is stored once this returns."""

    def read(self, name: str) -> bytes:
        """The content of that name.

        Raises:
            FileNotFoundError: there is no such content.
        """

    def remove(self, name: str) -> None:
        """Delete a content, if it exists."""


class RedisContents:
    """Contents as keys in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def check_room(self, more: int, spare: int) -> None:
        """See Contents; Redis refuses by itself what does not fit into its memory."""

    @translate_redis_errors()
    def write(self, name: str, content: bytes) -> None:
        """See Contents."""
        self._client.set(f"sd:store:content:{name}", content)

    @translate_redis_errors()
    def read(self, name: str) -> bytes:
        """See Contents."""
        content: Any = self._client.get(f"sd:store:content:{name}")
        if content is None:
            raise FileNotFoundError(name)
        return bytes(content)

    @translate_redis_errors()
    def remove(self, name: str) -> None:
        """See Contents."""
        self._client.unlink(f"sd:store:content:{name}")


class RemoteContents:
    """Contents in a file system of fsspec, such as a bucket; each is written in one piece.

    Args:
        files: the file system.
        folder: the folder or bucket in it.
    """

    def __init__(self, files: fsspec.AbstractFileSystem, folder: str) -> None:
        self._files = files
        self._folder = folder.rstrip("/")

    def check_room(self, more: int, spare: int) -> None:
        """See Contents; file systems of fsspec do not say how much room they have."""

    def write(self, name: str, content: bytes) -> None:
        """See Contents."""
        with _translate_errors():
            self._files.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes:
        """See Contents."""
        with _translate_errors():
            content: bytes = self._files.cat_file(self._path(name))
        return content

    def remove(self, name: str) -> None:
        """See Contents."""
        with suppress(FileNotFoundError), _translate_errors():
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise StoreUnavailable for all errors of a file system; each library has errors of its own."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        log.error("The store of images (cluster.blobs) cannot be used: %s: %s", type(error).__name__, error)
        raise StoreUnavailable("The store of images cannot be used at the moment.") from None


def open_contents(place: str, client: redis.Redis) -> Contents:
    """Open the store of contents that ``cluster.blobs`` names.

    Args:
        place: ``redis``, the path of a folder, or a URL of fsspec.
        client: the connection for ``redis``.

    Raises:
        ConfigurationError: the place does not exist, or cannot be written.
    """
    if place == IN_REDIS:
        return RedisContents(client)
    try:
        files, folder = fsspec.url_to_fs(place)
        if isinstance(files, LocalFileSystem):
            # These files survive a power failure, which those that fsspec writes would not.
            return ContentFiles(Path(folder))
        files.makedirs(folder, exist_ok=True)
    except Exception as error:
        # Each library behind fsspec has errors of its own. The place is not cited, because it may contain a password.
        raise ConfigurationError(
            [f"cluster.blobs: the place cannot be used: {type(error).__name__}: {error}"]
        ) from None
    return RemoteContents(files, folder)
