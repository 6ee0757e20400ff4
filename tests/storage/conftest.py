"""A real database in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sd_api.settings import Limits
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "server.sqlite")
    yield database
    database.close()


@pytest.fixture
def files(tmp_path: Path) -> ContentFiles:
    return ContentFiles(tmp_path / "blobs")


@pytest.fixture
def blobs(database: Database, files: ContentFiles) -> SqlBlobs:
    return SqlBlobs(database, files, Limits(max_blob_bytes_per_user=100))
