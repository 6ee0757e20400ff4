"""Images: what is known of each in the database, their contents in files."""

import time
from dataclasses import asdict
from hashlib import sha256
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, select

from sd_api.errors import QuotaExceeded, UnknownBlob
from sd_api.settings import Limits
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles
from sd_api.storage.protocols import Blob
from sd_api.storage.tables import blobs

SECONDS_OF_A_DAY = 24 * 60 * 60


class SqlBlobs:
    """See BlobStore.

    Args:
        database: where they are listed.
        files: where their contents are.
        limits: how much is kept of each owner's, and for how long.
    """

    def __init__(self, database: Database, files: ContentFiles, limits: Limits) -> None:
        self._database = database
        self._files = files
        self._limits = limits

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """See BlobStore."""
        digest = sha256(content).hexdigest()
        self._files.write(digest, content)
        now = time.time()
        return Blob(
            id=uuid4().hex,
            owner=owner,
            sha256=digest,
            size=len(content),
            media_type=media_type,
            created=now,
            expires=now + self._limits.max_days_kept * SECONDS_OF_A_DAY,
        )

    def add(self, blob: Blob) -> None:
        """See BlobStore."""
        with self._database.writing() as connection:
            # In the transaction that adds to it, so that uploads at the same time cannot pass it together.
            self._refuse_full(connection, blob.owner, blob.size)
            insert_blob(connection, blob)

    def blob(self, owner: str, blob_id: str) -> Blob:
        """See BlobStore."""
        query = select(blobs).where(blobs.c.id == blob_id, blobs.c.owner == owner, blobs.c.expires > time.time())
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise _unknown(blob_id)
        return Blob(**row)

    def read(self, blob: Blob) -> bytes:
        """See BlobStore."""
        try:
            return self._files.read(blob.sha256)
        except FileNotFoundError:
            raise _unknown(blob.id) from None

    def refuse_full(self, owner: str, more: int = 0) -> None:
        """See BlobStore."""
        with self._database.reading() as connection:
            self._refuse_full(connection, owner, more)

    def remove(self, blob: Blob) -> None:
        """See BlobStore."""
        with self._database.writing() as connection:
            connection.execute(delete(blobs).where(blobs.c.id == blob.id))

    def sweep(self) -> int:
        """See BlobStore."""
        with self._database.writing() as connection:
            connection.execute(delete(blobs).where(blobs.c.expires <= time.time()))
        with self._database.reading() as connection:
            listed = set(connection.execute(select(blobs.c.sha256).distinct()).scalars())
        return self._files.remove_all_but(listed)

    def _refuse_full(self, connection: Connection, owner: str, more: int) -> None:
        query = select(func.coalesce(func.sum(blobs.c.size), 0)).where(
            blobs.c.owner == owner, blobs.c.expires > time.time()
        )
        kept = int(connection.execute(query).scalar_one())
        if kept + more >= self._limits.max_blob_bytes_per_user:
            raise QuotaExceeded(
                f"Your images take {kept:,} bytes, and {self._limits.max_blob_bytes_per_user:,} may be kept for you. "
                "Delete some with DELETE /blob/<id>."
            )


def insert_blob(connection: Connection, blob: Blob) -> None:
    """List a blob, as a part of a transaction."""
    connection.execute(insert(blobs).values(asdict(blob)))


def _unknown(blob_id: str) -> UnknownBlob:
    return UnknownBlob(f"There is no blob {blob_id[:100]!r} of yours.")
