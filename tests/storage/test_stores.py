"""Users, tasks, events and blobs."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sd_api.errors import NameTaken, QuotaExceeded, StoreUnavailable, UnknownBlob, UnknownTask
from sd_api.settings import Limits
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.database import Database
from sd_api.storage.files import GRACE, ContentFiles
from sd_api.storage.protocols import Blob, Task, User
from sd_api.storage.tasks import SqlTasks
from sd_api.storage.users import SqlUsers


def make_task(task_id: str = "1", owner: str = "user:a") -> Task:
    return Task(task_id, owner, {"prompt": "a dog"}, "pending", time.time())


def said(kind: str) -> dict[str, str]:
    return {"event_type": kind}


def test_a_user_is_found_by_the_exact_name(users: SqlUsers) -> None:
    user = User("1", "Ann", "hash")
    users.add(user)
    assert users.find("Ann") == user
    assert users.find("ann") is None
    with pytest.raises(NameTaken, match="'Ann'"):
        users.add(User("2", "Ann", "hash"))


def test_a_task_is_its_owners_alone(tasks: SqlTasks) -> None:
    task = make_task()
    tasks.add(task, said("pending"))
    assert tasks.task("user:a", "1") == task
    with pytest.raises(UnknownTask):
        tasks.task("user:b", "1")
    assert tasks.tasks("user:b", limit=10, offset=0) == []
    assert tasks.events_since("user:b", 0, limit=10) == []


def test_a_task_ends_once(tasks: SqlTasks, blobs: SqlBlobs) -> None:
    task = make_task()
    tasks.add(task, said("pending"))
    assert tasks.record(task, "started", said("started"))
    assert tasks.record(task, "finished", said("finished"))
    image = blobs.make("user:a", b"x", "image/png")
    assert tasks.record(task, "finished", said("finished"), [image]) is None
    assert tasks.record(task, "cancelled", said("cancelled")) is None
    assert [event.content["event_type"] for event in tasks.events_since("user:a", 0, limit=10)] == [
        "pending",
        "started",
        "finished",
    ]
    # Nothing is left of the second end.
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", image.id)


def test_of_many_ends_at_once_one_counts(tasks: SqlTasks) -> None:
    task = make_task()
    tasks.add(task, said("pending"))
    with ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(lambda number: tasks.record(task, "cancelled", {"number": number}), range(8)))
    (event,) = (event for event in ends if event is not None)
    assert tasks.last_event(task) == event


def test_tasks_come_newest_first_with_their_last_event(tasks: SqlTasks) -> None:
    for number in range(5):
        tasks.add(make_task(str(number)), said("pending"))
    tasks.record(make_task("3"), "started", said("started"))
    page = tasks.tasks("user:a", limit=2, offset=1)
    assert [(task.id, task.state, event.content["event_type"]) for task, event in page] == [
        ("3", "started", "started"),
        ("2", "pending", "pending"),
    ]
    assert [task.id for task in tasks.alive()] == ["0", "1", "2", "3", "4"]
    assert tasks.count_pending("user:a") == 4
    assert tasks.count_starts(make_task("3")) == 1


def test_events_after_one_that_is_known(tasks: SqlTasks) -> None:
    events = [tasks.add(make_task(str(number)), said("pending")) for number in range(4)]
    known = events[1].id
    assert known is not None
    assert tasks.events_since("user:a", known, limit=10) == events[2:]
    assert tasks.events_since("user:a", known, limit=1) == events[2:3]


def test_ended_tasks_are_forgotten_and_their_ids_not_given_again(tasks: SqlTasks) -> None:
    for number in ("1", "2"):
        tasks.add(make_task(number), said("pending"))
    last = tasks.record(make_task("2"), "cancelled", said("cancelled"))
    assert tasks.forget_ended(time.time() - 10) == 0
    assert tasks.forget_ended(time.time() + 1) == 1
    assert [task.id for task in tasks.alive()] == ["1"]
    later = tasks.add(make_task("3"), said("pending"))
    assert last is not None
    assert last.id is not None
    assert later.id == last.id + 1


def test_a_blob_is_its_owners_alone(blobs: SqlBlobs) -> None:
    blob = blobs.make("user:a", b"picture", "image/png")
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", blob.id)
    blobs.add(blob)
    assert blobs.blob("user:a", blob.id) == blob
    assert blobs.read(blob) == b"picture"
    with pytest.raises(UnknownBlob):
        blobs.blob("user:b", blob.id)


def test_equal_contents_share_a_file_until_the_last_of_them_goes(
    blobs: SqlBlobs, files: ContentFiles, tmp_path: Path
) -> None:
    first, second = (blobs.make(owner, b"picture", "image/png") for owner in ("user:a", "user:b"))
    blobs.add(first)
    blobs.add(second)
    assert first.id != second.id
    (file,) = (tmp_path / "blobs").glob("??/*")
    assert file.name == first.sha256
    os.utime(file, (1, 1))
    blobs.remove(first)
    assert blobs.sweep() == 0
    assert blobs.read(second) == b"picture"
    blobs.remove(second)
    assert blobs.sweep() == 1
    assert not file.exists()


def test_the_sweeper_spares_what_was_written_just_now(blobs: SqlBlobs, tmp_path: Path) -> None:
    blob = blobs.make("user:a", b"picture", "image/png")
    (file,) = (tmp_path / "blobs").glob("??/*")
    assert blobs.sweep() == 0
    os.utime(file, (1, 1))
    # Sent once more: it is fresh again.
    blobs.make("user:a", b"picture", "image/png")
    assert blobs.sweep() == 0
    blobs.add(blob)
    assert blobs.read(blob) == b"picture"


def test_a_full_disk_is_told_and_nothing_is_left_of_the_attempt(
    files: ContentFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "blobs" / "ab").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailable, match="is full"):
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
    for file in (tmp_path / "blobs").glob("??/*"):
        os.utime(file, (1, 1))
    assert blobs.sweep() == 1


def test_a_quota_holds_against_uploads_at_the_same_time(blobs: SqlBlobs) -> None:
    made: list[Blob] = [blobs.make("user:a", bytes([number]) * 40, "image/png") for number in range(6)]

    def add(blob: Blob) -> bool:
        try:
            blobs.add(blob)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(add, made)) == [False] * 4 + [True] * 2
    blobs.add(replace(made[0], id="of another", owner="user:b"))
    with pytest.raises(QuotaExceeded, match=r"take 80 bytes, and 100 may be kept"):
        blobs.refuse_full("user:a", 40)
    blobs.refuse_full("user:a")


def test_blobs_expire_after_the_configured_days(database: Database, files: ContentFiles) -> None:
    blob = SqlBlobs(database, files, Limits(max_days_kept=2)).make("user:a", b"x", "image/png")
    assert blob.expires - blob.created == 2 * 24 * 3600
