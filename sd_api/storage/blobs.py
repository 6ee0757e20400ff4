"""The blob store with a list of images in the database and their contents in files."""

import time
from contextlib import suppress
from dataclasses import asdict, fields

from sqlalchemy import Connection, case, delete, func, insert, select

from sd_api.errors import ServerError
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
        files: hold their contents, by the images' ids. Earlier versions named them by their hash.
        limits: of all images, and the time to live of each.
    """

    def __init__(self, database: Database, files: ContentFiles, limits: Limits) -> None:
        self._database = database
        self._files = files
        self._limits = limits

    def make(self, owner: str, content: bytes, media_type: str) -> Blob:
        """See BlobStore."""
        blob = new_blob(owner, content, media_type, self._limits)
        with self._database.reserve.adding():
            self._files.write(blob.id, content)
        return blob

    def add(self, blob: Blob) -> None:
        """See BlobStore."""
        try:
            with self._database.writing() as connection:
                # In the same transaction, so that concurrent uploads cannot exceed the quota together.
                self._check_room(connection, blob.owner, blob.size)
                insert_blob(connection, blob)
        except ServerError:
            self._files.remove(blob.id)
            raise

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
        for name in (blob.id, blob.sha256):
            with suppress(FileNotFoundError):
                return self._files.read(name)
        raise unknown_blob(blob.id)

    def check_quota(self, owner: str, more: int = 0) -> None:
        """See BlobStore."""
        self._files.check_room(more, self._limits.min_free_data_bytes)
        with self._database.reading() as connection:
            self._check_room(connection, owner, more)

    def remove(self, blob: Blob) -> None:
        """See BlobStore."""

        def unlist(connection: Connection) -> bool:
            connection.execute(delete(blobs).where(blobs.c.id == blob.id))
            return connection.execute(select(blobs.c.id).where(blobs.c.sha256 == blob.sha256)).first() is None

        is_last = self._database.deleting(unlist)
        self._files.remove(blob.id)
        if is_last:
            self._files.remove(blob.sha256)

    def sweep(self) -> int:
        """See BlobStore."""

        def unlist(connection: Connection) -> list[str]:
            expired = delete(blobs).where(blobs.c.expires <= time.time()).returning(blobs.c.id)
            return list(connection.execute(expired).scalars())

        expired = self._database.deleting(unlist)
        for name in expired:
            self._files.remove(name)
        with self._database.reading() as connection:
            listed = {name for row in connection.execute(select(blobs.c.id, blobs.c.sha256)) for name in row}
        return len(expired) + self._files.remove_all_but(listed)

    def _check_room(self, connection: Connection, owner: str, more: int) -> None:
        own, public = blobs.c.client == client_of(owner), ~blobs.c.client.startswith(USER)
        sizes = (case((own, blobs.c.size)), case((public, blobs.c.size)), blobs.c.size)
        sums = (func.coalesce(func.sum(size), 0) for size in sizes)
        used = connection.execute(select(*sums).where(blobs.c.expires > time.time())).one()
        check_bytes(owner, Usage(*used), more, self._limits)


def insert_blob(connection: Connection, blob: Blob) -> None:
    """List an image, within a transaction."""
    connection.execute(insert(blobs).values(**asdict(blob), client=client_of(blob.owner)))
