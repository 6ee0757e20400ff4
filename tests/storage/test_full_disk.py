"""Stores on a small disk that is full."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attacked_server import small_disk, write_protected
from sample_tasks import make_task, sample_event
from stores import opened

from sd_api.errors import DiskFull, UnknownBlob
from sd_api.storage.disk import RESERVE_BYTES
from sd_api.storage.protocols import Blob
from sd_api.stores import Stores

SIZE = 200_000


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(8) as disk:
        if disk is None:
            pytest.skip("this user may not mount a disk")
        yield disk


@contextmanager
def filled(disk: Path) -> Iterator[tuple[Stores, list[Blob]]]:
    """Stores with a task and images, after which nothing more can be written, be it ever so small."""
    with opened(data=disk / "data") as stores:
        stores.tasks.add(make_task("1"), sample_event("pending"))
        blobs = []
        with suppress(DiskFull):
            while True:
                blobs.append(stores.blobs.make("user:a", bytes(SIZE), "image/png"))
                stores.blobs.add(blobs[-1])
        with suppress(OSError), open(disk / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        with suppress(DiskFull):
            for number in range(2, 1000):
                stores.tasks.add(make_task(str(number)), sample_event("pending"))
            pytest.fail("the disk is not full")
        yield stores, blobs


def test_deletions_and_cancellations_are_possible_and_make_room(disk: Path) -> None:
    with filled(disk) as (stores, blobs):
        assert stores.tasks.record(make_task("1"), "cancelled", sample_event("cancelled")) is not None
        with pytest.raises(DiskFull):
            stores.blobs.make("user:a", b"small", "image/png")
        for blob in blobs:
            stores.blobs.remove(blob)
        stores.blobs.add(stores.blobs.make("user:a", bytes(SIZE), "image/png"))
        assert (disk / "data" / "reserve").stat().st_size == RESERVE_BYTES


def test_a_start_and_deletions_are_possible(disk: Path) -> None:
    with filled(disk) as (_, blobs):
        pass
    with opened(data=disk / "data") as stores:
        assert stores.blobs.read(blobs[0]) == bytes(SIZE)
        for blob in blobs:
            stores.blobs.remove(blob)
        stores.tasks.add(make_task("new"), sample_event("pending"))


def test_on_a_disk_that_has_become_read_only_images_can_be_deleted_and_none_added(disk: Path) -> None:
    with opened(data=disk / "data") as stores:
        blob = stores.blobs.make("user:a", b"picture", "image/png")
        stores.blobs.add(blob)
        with write_protected(disk / "data"):
            with pytest.raises(DiskFull):
                stores.blobs.make("user:a", b"another", "image/png")
            stores.blobs.remove(blob)
            with pytest.raises(UnknownBlob):
                stores.blobs.blob("user:a", blob.id)
        (left,) = (disk / "data" / "blobs").glob("??/*")
        os.utime(left, (1, 1))
        assert stores.blobs.sweep() == 1
        stores.blobs.add(stores.blobs.make("user:a", b"another", "image/png"))
