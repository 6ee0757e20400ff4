"""The blob store with a list of images in Redis and their contents there or elsewhere."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

import redis

from sd_api.cluster.connection import translate_redis_errors
from sd_api.owners import client_of
from sd_api.settings import Limits
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.cluster.contents import Contents
from sd_api.storage.files import GRACE
from sd_api.storage.images import new_blob, unknown_blob
from sd_api.storage.protocols import Blob
from sd_api.storage.room import Usage, check_bytes, most_bytes


class RedisBlobs:
    """A BlobStore over Redis. Contents are named by the images' ids, so no two images share a content.

    Args:
        client: the connection to Redis, which lists the images.
        contents: hold the images' contents.
        limits: of all images, and the time to live of each.
    """

    def __init__(self, client: redis.Redis, contents: Contents, limits: Limits) -> None:
        self._client = client
        self._commands = Commands(client)
        self._contents = contents
        self._limits = limits

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """See BlobStore."""
        blob = new_blob(owner, content, media_type, self._limits)
        self._commands.run("expect_blob", blob.id)
        self._contents.write(blob.id, content)
        return blob

    def add(self, blob: Blob) -> None:
        """See BlobStore."""
        used = self._commands.run("add_blob", *astuple(most_bytes(self._limits)), *blob_arguments(blob))
        if used is not None:
            check_bytes(blob.owner, Usage(*used), blob.size, self._limits)

    @translate_redis_errors()
    def blob(self, owner: str, blob_id: str) -> Blob:
        """See BlobStore."""
        found: Any = self._client.hget(f"sd:store:blob:{blob_id}", "blob")
        blob = None if found is None else Blob(**json.loads(found))
        if blob is None or blob.owner != owner or blob.expires <= time.time():
            raise unknown_blob(blob_id)
        return blob

    def read(self, blob: Blob) -> bytes:
        """See BlobStore."""
        try:
            return self._contents.read(blob.id)
        except FileNotFoundError:
            raise unknown_blob(blob.id) from None

    def check_quota(self, owner: str, more: int = 0) -> None:
        """See BlobStore."""
        self._contents.check_room(more, self._limits.min_free_data_bytes)
        used = self._commands.run("bytes_used", client_of(owner))
        check_bytes(owner, Usage(*used), more, self._limits)

    def remove(self, blob: Blob) -> None:
        """See BlobStore."""
        self._commands.run("drop_blob", blob.id)
        self._delete([blob.id])

    def sweep(self) -> int:
        """See BlobStore."""
        total = 0
        while orphaned := self._commands.run("orphaned_contents", GRACE):
            self._delete([name.decode() for name in orphaned])
            total += len(orphaned)
        return total

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._contents.remove(name)
        # Only after the deletion, so that another process repeats it if this one dies in between.
        self._commands.run("delete_orphaned", *names)


def blob_arguments(blob: Blob) -> tuple[str | float, ...]:
    """The arguments of an image for the commands: its id, client, size, expiry, and all of its fields as JSON."""
    return blob.id, client_of(blob.owner), blob.size, blob.expires, json.dumps(asdict(blob))
