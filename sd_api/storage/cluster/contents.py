"""Where the contents of images are that many machines share: in Redis, in a folder, or wherever fsspec reaches."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import fsspec
import redis
from fsspec.implementations.local import LocalFileSystem

from sd_api.cluster.connection import redis_faults_as_ours
from sd_api.errors import ConfigurationError, StoreUnavailable
from sd_api.storage.files import ContentFiles

log = logging.getLogger(__name__)

IN_REDIS = "redis"


class Contents(Protocol):
    """Keeps bytes by name; what has a name never changes."""

    def write(self, name: str, content: bytes) -> None:
        """Have a content kept when this returns."""

    def read(self, name: str) -> bytes:
        """The content of that name.

        Raises:
            FileNotFoundError: it is not there.
        """

    def remove(self, name: str) -> None:
        """Delete a content, if it is there."""


class RedisContents:
    """Contents in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @redis_faults_as_ours()
    def write(self, name: str, content: bytes) -> None:
        """See Contents."""
        self._client.set(f"sd:store:content:{name}", content)

    @redis_faults_as_ours()
    def read(self, name: str) -> bytes:
        """See Contents."""
        content: Any = self._client.get(f"sd:store:content:{name}")
        if content is None:
            raise FileNotFoundError(name)
        return bytes(content)

    @redis_faults_as_ours()
    def remove(self, name: str) -> None:
        """See Contents."""
        self._client.unlink(f"sd:store:content:{name}")


class RemoteContents:
    """Contents in a store that fsspec knows, such as a bucket; each is put there in one piece.

    Args:
        files: the store.
        folder: where in it.
    """

    def __init__(self, files: fsspec.AbstractFileSystem, folder: str) -> None:
        self._files = files
        self._folder = folder.rstrip("/")

    def write(self, name: str, content: bytes) -> None:
        """See Contents."""
        with _faults_as_ours():
            self._files.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes:
        """See Contents."""
        with _faults_as_ours():
            content: bytes = self._files.cat_file(self._path(name))
        return content

    def remove(self, name: str) -> None:
        """See Contents."""
        with suppress(FileNotFoundError), _faults_as_ours():
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


@contextmanager
def _faults_as_ours() -> Iterator[None]:
    """Raise StoreUnavailable for whatever the store's library raises; each has errors of its own."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        log.error("The place of images cannot be used: %s: %s", type(error).__name__, error)
        raise StoreUnavailable("The place where images are kept cannot be used at the moment.") from None


def open_contents(place: str, client: redis.Redis) -> Contents:
    """Find the contents where ``cluster.blobs`` says that they are.

    Args:
        place: ``redis``, the path of a folder, or a URL that fsspec knows.
        client: the Redis that is meant.

    Raises:
        ConfigurationError: there is no such place, or it cannot be written.
    """
    if place == IN_REDIS:
        return RedisContents(client)
    try:
        files, folder = fsspec.url_to_fs(place)
        if isinstance(files, LocalFileSystem):
            # They survive a power failure, which fsspec's own would not.
            return ContentFiles(Path(folder))
        files.makedirs(folder, exist_ok=True)
    except Exception as error:
        # Of whichever library fsspec needs for it. The place itself may have a password in it.
        raise ConfigurationError(
            [f"cluster.blobs: the place cannot be used: {type(error).__name__}: {error}"]
        ) from None
    return RemoteContents(files, folder)
