"""Images: what is known of each in Redis, their contents there or elsewhere."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import redis

from sd_api.cluster.connection import redis_faults_as_ours
from sd_api.settings import Limits
from sd_api.storage.cluster.commands import Commands
from sd_api.storage.cluster.contents import Contents
from sd_api.storage.files import GRACE
from sd_api.storage.images import describe, full, unknown
from sd_api.storage.protocols import Blob


class RedisBlobs:
    """See BlobStore. Contents are named by the blobs' ids, so none waits for another one's end.

    Args:
        client: where they are listed.
        contents: where their contents are.
        limits: how much is kept of each owner's, and for how long.
    """

    def __init__(self, client: redis.Redis, contents: Contents, limits: Limits) -> None:
        self._client = client
        self._commands = Commands(client)
        self._contents = contents
        self._limits = limits

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """See BlobStore."""
        blob = describe(owner, content, media_type, self._limits)
        self._commands.run("expect_blob", blob.id)
        self._contents.write(blob.id, content)
        return blob

    def add(self, blob: Blob) -> None:
        """See BlobStore."""
        kept = self._commands.run("add_blob", self._limits.max_blob_bytes_per_user, *blob_arguments(blob))
        if kept is not None:
            raise full(kept, self._limits)

    @redis_faults_as_ours()
    def blob(self, owner: str, blob_id: str) -> Blob:
        """See BlobStore."""
        found: Any = self._client.hget(f"sd:store:blob:{blob_id}", "blob")
        blob = None if found is None else Blob(**json.loads(found))
        if blob is None or blob.owner != owner or blob.expires <= time.time():
            raise unknown(blob_id)
        return blob

    def read(self, blob: Blob) -> bytes:
        """See BlobStore."""
        try:
            return self._contents.read(blob.id)
        except FileNotFoundError:
            raise unknown(blob.id) from None

    def refuse_full(self, owner: str, more: int = 0) -> None:
        """See BlobStore."""
        kept = self._commands.run("bytes_kept", owner)
        if kept + more >= self._limits.max_blob_bytes_per_user:
            raise full(kept, self._limits)

    def remove(self, blob: Blob) -> None:
        """See BlobStore."""
        self._commands.run("drop_blob", blob.id)
        self._delete([blob.id])

    def sweep(self) -> int:
        """See BlobStore."""
        total = 0
        while unwanted := self._commands.run("unwanted_contents", GRACE):
            self._delete([name.decode() for name in unwanted])
            total += len(unwanted)
        return total

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._contents.remove(name)
        # Only now, so that another one deletes what this process does not get to.
        self._commands.run("forget_contents", *names)


def blob_arguments(blob: Blob) -> tuple[str | float, ...]:
    """An image as the commands take it: its id, owner, size, expiry, and all that is known of it."""
    return blob.id, blob.owner, blob.size, blob.expires, json.dumps(asdict(blob))
