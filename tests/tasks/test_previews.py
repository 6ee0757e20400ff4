"""Previews of running tasks: for who asks, for who may, and as long as somebody looks."""

import threading
import time

import pytest
from tasks_server import Driven, StartTasks

from sd_api.errors import UnknownBlob
from sd_api.jobs import job
from sd_api.storage.protocols import Event
from sd_api.tasks.event_bus import preview_channel
from sd_api.tasks.previews import Previews


class Looker:
    """Somebody who listens for previews, and the ids that came."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            if "preview_blob_id" in event.content:
                self.heard.append(event.content["preview_blob_id"])
            self._more.notify()

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.heard) >= count, 20)


def test_nobody_who_looks_no_previews(start: StartTasks, engine: Driven) -> None:
    server = start()
    task_id = server.create("a dog")
    server.wait(task_id, "started")
    engine.permissions.release()
    server.wait(task_id, "finished")
    assert engine.previews == 0
    assert all("preview_blob_id" not in event.content for event in server.events)


def test_who_looks_hears_of_each_preview_once_and_nobody_else_does(start: StartTasks, engine: Driven) -> None:
    server, looker = start(), Looker()
    leave = server.event_bus.subscribe(preview_channel("user:a"), looker)
    others = Looker()
    server.event_bus.subscribe(preview_channel("user:b"), others)
    task_id = server.create("a dog")
    looker.wait_for(3)
    previews = Previews(server.queue)
    assert (previews.read("user:a", looker.heard[0]) or b"").startswith(b"preview ")
    with pytest.raises(UnknownBlob):
        previews.read("user:b", looker.heard[0])
    assert len(looker.heard) <= engine.previews
    engine.permissions.release()
    server.wait(task_id, "finished")
    leave()
    # It went with the job.
    with pytest.raises(UnknownBlob):
        previews.read("user:a", looker.heard[0])
    assert others.heard == []
    assert all("preview_blob_id" not in event.content for event in server.events)


def test_previews_end_when_nobody_looks_any_more(
    start: StartTasks, engine: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PREVIEW_INTEREST", 0.05)
    server, looker = start(), Looker()
    leave = server.event_bus.subscribe(preview_channel("user:a"), looker)
    task_id = server.create("a dog")
    looker.wait_for(1)
    leave()
    made, deadline = -1, time.monotonic() + 20
    while made != engine.previews:
        assert time.monotonic() < deadline
        made = engine.previews
        time.sleep(0.3)
    engine.permissions.release()
    server.wait(task_id, "finished")


@pytest.mark.parametrize("blob_id", ["-", "-5", "nothing-1", "0" * 32 + "-1", "a-b-c"])
def test_what_names_no_task_is_unknown(start: StartTasks, blob_id: str) -> None:
    with pytest.raises(UnknownBlob):
        Previews(start().queue).read("user:a", blob_id)


def test_other_blobs_are_no_previews(start: StartTasks) -> None:
    assert Previews(start().queue).read("user:a", "0" * 32) is None
