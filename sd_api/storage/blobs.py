"""The blob store with a list of images in the database and their contents in files."""

import time
from dataclasses import asdict, fields

from sqlalchemy import Connection, case, delete, func, insert, select

from sd_api.owners import USER, client_of
from sd_api.settings import Limits
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles
from sd_api.storage.images import new_blob, unknown_blob
from sd_api.storage.protocols import Blob
from sd_api.storage.room import Usage, check_bytes
from sd_api.storage.tables import blobs

_BLOB = tuple(blobs.c[field.name] for field in fields(Blob))


class SqlBlobs:
    """A BlobStore over SQL and a folder.

    Args:
        database: lists the images.
        files: hold their contents, by hash.
        limits: of all images, and the time to live of each.
    """

    def __init__(self, database: Database, files: ContentFiles, limits: Limits) -> None:
        self._database = database
        self._files = files
        self._limits = limits

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """See BlobStore."""
        blob = new_blob(owner, content, media_type, self._limits)
        self._files.write(blob.sha256, content)
        return blob

    def add(self, blob: Blob) -> None:
        """See BlobStore."""
        with self._database.writing() as connection:
            # In the same transaction, so that concurrent uploads cannot exceed the quota together.
            self._check_room(connection, blob.owner, blob.size)
            insert_blob(connection, blob)

    def blob(self, owner: str, blob_id: str) -> Blob:
        """See BlobStore."""
        query = select(*_BLOB).where(blobs.c.id == blob_id, blobs.c.owner == owner, blobs.c.expires > time.time())
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise unknown_blob(blob_id)
        return Blob(**row)

    def read(self, blob: Blob) -> bytes:
        """See BlobStore."""
        try:
            return self._files.read(blob.sha256)
        except FileNotFoundError:
            raise unknown_blob(blob.id) from None

    def check_quota(self, owner: str, more: int = 0) -> None:
        """See BlobStore."""
        self._files.check_room(more, self._limits.min_free_data_bytes)
        with self._database.reading() as connection:
            self._check_room(connection, owner, more)

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

    def _check_room(self, connection: Connection, owner: str, more: int) -> None:
        own, public = blobs.c.client == client_of(owner), ~blobs.c.client.startswith(USER)
        sizes = (case((own, blobs.c.size)), case((public, blobs.c.size)), blobs.c.size)
        sums = (func.coalesce(func.sum(size), 0) for size in sizes)
        used = connection.execute(select(*sums).where(blobs.c.expires > time.time())).one()
        check_bytes(owner, Usage(*used), more, self._limits)


def insert_blob(connection: Connection, blob: Blob) -> None:
    """List an image, within a transaction."""
    connection.execute(insert(blobs).values(**asdict(blob), client=client_of(blob.owner)))
