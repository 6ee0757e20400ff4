"""What becomes of tasks, whatever happens to the server and to the queue."""

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pictures import photograph, png
from requested import request
from tasks_server import Driven, Server, StartTasks, leave_interrupted

from sd_api.errors import (
    ModelUnavailable,
    QuotaExceeded,
    StoreUnavailable,
    TooManyTasks,
    UnknownBlob,
    UnknownTask,
)
from sd_api.generation import reading
from sd_api.generation.reading import Reading
from sd_api.generation.stored_files import ReadBytes
from sd_api.settings import Limits
from sd_api.storage.protocols import Event, Task
from sd_api.tasks.dispatcher import MAX_STARTS


def test_a_task_runs_and_its_picture_is_kept(start: StartTasks, engine: Driven) -> None:
    server = start()
    task_id = server.create("a dog", num_outputs=2, seed=3)
    server.wait(task_id, "started")
    engine.permissions.release()
    event = server.wait(task_id, "finished")
    assert server.kinds(task_id) == ["pending", "started", "finished"]
    assert [image["parameters_used"]["seed"] for image in event.content["images"]] == [3, 4]
    blob = server.blobs.blob("user:a", event.content["image"]["blob_id"])
    assert server.blobs.read(blob) == b"a dog"
    # What was published is what is kept, apart from progress, which is not.
    assert [event.id for event in server.events if event.id is not None] == [1, 2, 3]
    assert any(event.content["event_type"] == "progress" for event in server.events)


def test_more_tasks_than_the_queue_takes_wait_and_other_clients_find_room(start: StartTasks, engine: Driven) -> None:
    server = start(ahead=2, max_queued_requests=4)
    tasks = [server.create(f"task {number}") for number in range(8)]
    server.wait(tasks[0], "started")
    # As a client of the plugin does.
    job = server.queue.submit(request("between"))
    engine.permissions.release(9)
    for task_id in tasks:
        server.wait(task_id, "finished")
    assert job.result()
    assert [prompt for prompt in engine.made if prompt != "between"] == [f"task {number}" for number in range(8)]
    assert engine.made.index("between") <= 2


def test_a_queue_that_is_full_of_others_is_tried_again(start: StartTasks, engine: Driven) -> None:
    server = start(ahead=2, max_queued_requests=1)
    running = server.queue.submit(request("running"))
    while running.status().state != "running":
        time.sleep(0.005)
    waiting = server.queue.submit(request("waiting"))
    task_id = server.create("a dog")
    engine.permissions.release(2)
    assert waiting.result()
    engine.permissions.release()
    server.wait(task_id, "finished")


def test_owners_are_served_round_robin(start: StartTasks, engine: Driven) -> None:
    server = start(ahead=2)
    tasks = [server.create(f"a{number}") for number in range(6)]
    server.wait(tasks[0], "started")
    late = server.create("b", owner="user:b")
    engine.permissions.release(7)
    server.wait(late, "finished", owner="user:b")
    server.wait(tasks[-1], "finished")
    # Behind what runs and what is in the queue already.
    assert engine.made.index("b") <= 3


def test_what_waited_and_what_ran_when_the_server_ended_is_done_by_the_next(start: StartTasks, engine: Driven) -> None:
    first = start()
    tasks = [first.create(f"task {number}") for number in range(6)]
    first.wait(tasks[0], "started")
    first.stop()
    second = start()
    engine.permissions.release(6)
    for task_id in tasks:
        second.wait(task_id, "finished")
    assert engine.made == [f"task {number}" for number in range(6)]
    assert second.kinds(tasks[0]) == ["pending", "started", "pending", "started", "finished"]
    assert second.kinds(tasks[5]) == ["pending", "started", "finished"]


def test_a_rerun_makes_the_same_picture(start: StartTasks, engine: Driven) -> None:
    first = start()
    task_id = first.create("a dog")
    seed = first.store.task("user:a", task_id).parameters["seed"]
    first.wait(task_id, "started")
    first.stop()
    second = start()
    engine.permissions.release()
    assert second.wait(task_id, "finished").content["image"]["parameters_used"]["seed"] == seed


def test_an_interrupted_task_can_be_cancelled_instead(start: StartTasks) -> None:
    left = []
    server = start(interrupted="cancel", prepare=lambda server: left.append(leave_interrupted(server)))
    event = server.wait(left[0].id, "cancelled")
    assert event.content["reason"] == "The server ended while this task was running."


def test_a_task_that_ends_the_server_again_and_again_is_given_up(start: StartTasks, engine: Driven) -> None:
    left = []

    def prepare(server: Server) -> None:
        left.extend([leave_interrupted(server, MAX_STARTS), leave_interrupted(server, MAX_STARTS - 1)])

    server = start(prepare=prepare)
    assert "5 times" in server.wait(left[0].id, "cancelled").content["reason"]
    engine.permissions.release()
    server.wait(left[1].id, "finished")


def test_a_task_that_is_cancelled_before_its_turn_is_not_run(start: StartTasks, engine: Driven) -> None:
    server = start(ahead=1)
    running, in_store = server.create("running"), server.create("in the store")
    server.wait(running, "started")
    server.tasks.cancel("user:a", in_store)
    server.tasks.cancel("user:a", in_store)
    engine.permissions.release(2)
    server.wait(running, "finished")
    server.wait(server.create("last"), "finished")
    assert engine.made == ["running", "last"]
    assert server.kinds(in_store) == ["pending", "cancelled"]


def test_a_running_task_is_cancelled_at_once(start: StartTasks, engine: Driven) -> None:
    server = start()
    task_id, after = server.create("running"), server.create("after")
    server.wait(task_id, "started")
    server.tasks.cancel("user:a", task_id)
    assert server.kinds(task_id) == ["pending", "started", "cancelled"]
    server.wait(after, "started")
    engine.permissions.release()
    server.wait(after, "finished")
    assert engine.made == ["after"]


def test_of_cancelling_and_finishing_at_once_one_counts(start: StartTasks, engine: Driven) -> None:
    server = start()
    for _ in range(20):
        task_id = server.create("a dog")
        server.wait(task_id, "started")
        cancel = threading.Thread(target=server.tasks.cancel, args=("user:a", task_id))
        cancel.start()
        engine.permissions.release()
        cancel.join()
        server.wait(task_id, "finished", "cancelled")
        # Whichever came second must not follow.
        time.sleep(0.01)
        (end,) = (kind for kind in server.kinds(task_id) if kind in ("finished", "cancelled"))
        if end == "cancelled":
            # The permission may not have been used.
            engine.permissions.acquire(blocking=False)


def test_nobody_cancels_what_is_anothers(start: StartTasks) -> None:
    server = start()
    task_id = server.create("a dog")
    with pytest.raises(UnknownTask):
        server.tasks.cancel("user:b", task_id)
    server.wait(task_id, "started")


def test_a_failure_is_recorded_as_the_reason(start: StartTasks, engine: Driven) -> None:
    server = start()
    engine.error = ModelUnavailable("There is no network.")
    engine.permissions.release()
    assert server.wait(server.create("a dog"), "cancelled").content["reason"] == "There is no network."
    engine.error = None
    engine.permissions.release()
    server.wait(server.create("a cat"), "finished")


def test_an_unforeseen_failure_is_reported_by_its_id(
    start: StartTasks, engine: Driven, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    engine.error = ZeroDivisionError("secret details")
    engine.permissions.release()
    reason = server.wait(server.create("a dog"), "cancelled").content["reason"]
    assert "error id" in reason
    assert "secret" not in reason


def test_an_image_that_is_gone_when_its_turn_comes_is_the_reason(start: StartTasks, engine: Driven) -> None:
    server = start(ahead=1)
    blob = server.blobs.make("user:a", png(photograph(64, 64)), "image/png")
    server.blobs.add(blob)
    running, late = server.create("running"), server.create("late", initial_image=blob.id)
    server.wait(running, "started")
    server.blobs.remove(blob)
    engine.permissions.release(2)
    assert "initial_image cannot be read" in server.wait(late, "cancelled").content["reason"]
    server.wait(running, "finished")


def test_too_many_waiting_tasks_are_refused(start: StartTasks) -> None:
    server = start(max_pending_tasks_per_user=2)
    running = server.create("running")
    server.wait(running, "started")
    server.create("one")
    server.create("two")
    with pytest.raises(TooManyTasks, match="2 of your tasks are waiting"):
        server.create("three")
    server.create("of another", owner="user:b")


def test_many_at_once_do_not_pass_the_limit_together(start: StartTasks) -> None:
    server = start(max_pending_tasks_per_user=3)
    server.wait(server.create("running"), "started")

    def create(number: int) -> bool:
        try:
            server.create(f"task {number}")
        except TooManyTasks:
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        assert sum(threads.map(create, range(24))) == 3


def test_a_task_waits_while_the_images_of_others_fill_the_memory(
    start: StartTasks, engine: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(ahead=1)
    blob = server.blobs.make("user:a", png(photograph(64, 64)), "image/png")
    server.blobs.add(blob)
    running, late = server.create("running"), server.create("late", initial_image=blob.id)
    server.wait(running, "started")
    others, tried = ReadBytes(), threading.Event()
    others.take(1 << 40, (holder := Reading(limits=Limits(), content=lambda _field, _value: b"")), 1 << 40)
    take = others.take

    def watched(size: int, reading: object, largest: int) -> None:
        tried.set()
        take(size, reading, largest)

    monkeypatch.setattr(others, "take", watched)
    monkeypatch.setattr(reading, "_READ", others)
    engine.permissions.release(2)
    assert tried.wait(timeout=20)
    assert server.kinds(late) == ["pending"]
    del holder
    server.wait(late, "finished")


def test_a_full_store_of_images_takes_no_more_tasks(start: StartTasks, engine: Driven) -> None:
    server = start(max_blob_bytes_per_user=8)
    engine.permissions.release()
    # What is under way when it gets full is kept all the same.
    event = server.wait(server.create("longer than eight bytes"), "finished")
    with pytest.raises(QuotaExceeded):
        server.create("a dog")
    server.blobs.remove(server.blobs.blob("user:a", event.content["image"]["blob_id"]))
    server.create("a dog")


def test_on_a_full_disk_a_picture_waits_until_there_is_room(
    start: StartTasks, engine: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    task_id, other = server.create("a dog"), server.create("a cat")
    tried = threading.Semaphore(0)

    def full(descriptor: int) -> None:
        tried.release()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        engine.permissions.release()
        # It is tried again, too, while the next task runs.
        assert all(tried.acquire(timeout=20) for _ in range(2))
        assert server.kinds(task_id) == ["pending", "started"]
    server.wait(task_id, "finished")
    engine.permissions.release()
    server.wait(other, "finished")
    assert engine.made == ["a dog", "a cat"]


def test_a_task_that_can_be_neither_run_nor_ended_on_a_full_disk_stops_no_others(
    start: StartTasks, engine: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(ahead=1)
    blob = server.blobs.make("user:a", png(photograph(64, 64)), "image/png")
    server.blobs.add(blob)
    running, late = server.create("running"), server.create("late", initial_image=blob.id)
    last = server.create("last")
    server.wait(running, "started")
    server.blobs.remove(blob)
    record, tried = server.store.record, threading.Semaphore(0)

    def full(task: Task, *arguments: Any) -> Event | None:
        if task.id != late:
            return record(task, *arguments)
        tried.release()
        raise StoreUnavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(server.store, "record", full)
        engine.permissions.release(2)
        assert all(tried.acquire(timeout=20) for _ in range(2))
    assert "initial_image" in server.wait(late, "cancelled").content["reason"]
    server.wait(last, "finished")


def test_a_picture_that_cannot_be_kept_is_reported(start: StartTasks, engine: Driven, tmp_path: Path) -> None:
    server = start()
    engine.permissions.release()
    # In the place of the folder that the picture would go to.
    for number in range(256):
        (tmp_path / "blobs" / f"{number:02x}").write_text("")
    assert "error id" in server.wait(server.create("a dog"), "cancelled").content["reason"]
    with pytest.raises(UnknownBlob):
        server.blobs.blob("user:a", "0" * 32)
