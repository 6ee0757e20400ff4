"""Blobs in a database and a folder: what is particular about them; the rest is in tests/contract."""

import errno
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sd_api.errors import DiskFull, QuotaExceeded, UnknownBlob
from sd_api.settings import Limits
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.database import Database
from sd_api.storage.files import GRACE, ContentFiles


def test_a_deleted_image_makes_room_at_once(blobs: SqlBlobs, tmp_path: Path) -> None:
    first, second = (blobs.make(owner, b"picture", "image/png") for owner in ("user:a", "user:b"))
    blobs.add(first)
    blobs.add(second)
    blobs.remove(first)
    assert [file.name for file in (tmp_path / "blobs").glob("??/*")] == [second.id]
    assert blobs.read(second) == b"picture"
    blobs.check_quota("user:a", 99)


def test_an_image_that_exceeds_the_quota_leaves_no_file(blobs: SqlBlobs, tmp_path: Path) -> None:
    large = blobs.make("user:a", bytes(100), "image/png")
    with pytest.raises(QuotaExceeded):
        blobs.add(large)
    assert list((tmp_path / "blobs").glob("??/*")) == []


def test_images_that_an_earlier_version_named_by_their_hash_are_shared_until_the_last_goes(
    blobs: SqlBlobs, files: ContentFiles, tmp_path: Path
) -> None:
    first, second = (blobs.make(owner, b"picture", "image/png") for owner in ("user:a", "user:b"))
    files.write(first.sha256, b"picture")
    for blob in (first, second):
        blobs.add(blob)
        files.remove(blob.id)
    (file,) = (tmp_path / "blobs").glob("??/*")
    os.utime(file, (1, 1))
    blobs.remove(first)
    assert blobs.sweep() == 0
    assert blobs.read(second) == b"picture"
    blobs.remove(second)
    assert not file.exists()


def test_the_sweeper_spares_what_was_written_just_now(blobs: SqlBlobs, tmp_path: Path) -> None:
    blob = blobs.make("user:a", b"picture", "image/png")
    assert blobs.sweep() == 0
    blobs.add(blob)
    assert blobs.read(blob) == b"picture"
    blobs.make("user:a", b"never listed", "image/png")
    for file in (tmp_path / "blobs").glob("??/*"):
        os.utime(file, (1, 1))
    assert blobs.sweep() == 1
    assert blobs.read(blob) == b"picture"


def test_what_an_interrupted_write_left_is_swept(files: ContentFiles, tmp_path: Path) -> None:
    left = tmp_path / "blobs" / "ab" / "something.part"
    left.parent.mkdir()
    left.write_bytes(b"half a pict")
    old = time.time() - GRACE - 1
    os.utime(left, (old, old))
    assert files.remove_all_but(set()) == 1


def test_an_expired_blob_is_not_there_and_then_gone(blobs: SqlBlobs, tmp_path: Path) -> None:
    blob = replace(blobs.make("user:a", b"picture", "image/png"), expires=time.time() - 1)
    blobs.add(blob)
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", blob.id)
    assert blobs.sweep() == 1
    assert list((tmp_path / "blobs").glob("??/*")) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO])
def test_a_disk_that_cannot_be_written_is_named_and_nothing_is_left_of_the_attempt(
    files: ContentFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "blobs" / "ab").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="is full"):
            files.write("ab" * 32, b"picture")
    assert list((tmp_path / "blobs").glob("??/*")) == []
    files.write("ab" * 32, b"picture")
    assert files.read("ab" * 32) == b"picture"


def test_a_file_that_gets_its_name_while_others_are_swept_is_no_reason_to_stop(
    files: ContentFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for digest in ("aa" * 32, "bb" * 32):
        files.write(digest, b"picture")
        os.utime(tmp_path / "blobs" / digest[:2] / digest, (1, 1))
    found = sorted((tmp_path / "blobs").glob("??/*"))
    gone = found[0].with_name("renamed.part")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, *found]))
    assert files.remove_all_but(set()) == 2


@pytest.mark.parametrize(("total", "free"), [(10**12, 1023), (1000, 49)])
def test_the_last_bytes_of_a_disk_are_for_what_has_been_accepted(
    database: Database, files: ContentFiles, monkeypatch: pytest.MonkeyPatch, total: int, free: int
) -> None:
    blobs = SqlBlobs(database, files, Limits(min_free_data_bytes=1024))
    disk = {"free": free + 1}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=total, **disk))
    blobs.check_quota("user:a")
    disk["free"] = free
    with pytest.raises(DiskFull, match=r"disk .* is full"):
        blobs.check_quota("user:a")
    blobs.add(blobs.make("user:a", b"the picture of a task", "image/png"))
