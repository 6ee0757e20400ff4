"""Tasks with models of the hub: fetched on first use, with word of how far that is."""

import time
from collections.abc import Callable
from typing import Any

from fake_hub import FakeHub
from hub_app import App

from sd_api.storage.protocols import Event

StartApp = Callable[..., App]
OWNER = "user:a"


def run(app: App, **parameters: Any) -> Event:
    """The last event of a task."""
    tasks = app.services.tasks
    fields = {"prompt": "a dog", "steps": 1, "width": 64, "height": 64, **parameters}
    task_id = tasks.create(OWNER, fields)
    deadline = time.monotonic() + 60
    while (event := tasks.last_event(OWNER, task_id)).content["event_type"] not in ("finished", "cancelled"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return event


def test_a_model_is_fetched_when_a_task_names_it(hub: FakeHub, start: StartApp) -> None:
    app = start(allowed_models=["demo/no-checker"])
    app.health()
    events: list[Event] = []
    app.services.events.subscribe(OWNER, events.append)
    event = run(app, model_id="demo/no-checker")
    assert event.content["image"]["parameters_used"]["model_id"] == "demo/no-checker"
    downloading = [event.content for event in events if event.content.get("phase") == "downloading"]
    assert downloading
    assert all(0 <= event["bytes"] <= event["total_bytes"] for event in downloading)
    assert downloading[-1]["bytes"] > 0
    # Once only.
    hub.requests.clear()
    assert run(app, model_id="demo/no-checker").content["event_type"] == "finished"
    assert hub.requests == []


def test_code_of_a_repository_is_not_run(hub: FakeHub, start: StartApp) -> None:
    app = start(any_model=True)
    app.health()
    reason = run(app, model_id="demo/own-part").content["reason"]
    assert "code" in reason


def test_a_model_that_is_not_there_is_the_reason(hub: FakeHub, start: StartApp) -> None:
    app = start(any_model=True)
    app.health()
    assert "There is no model nobody/nothing" in run(app, model_id="nobody/nothing").content["reason"]


def test_of_many_models_the_latest_stay(hub: FakeHub, start: StartApp) -> None:
    app = start(any_model=True)
    app.health()
    for name in ("demo/half", "demo/pickled", "demo/no-checker"):
        assert run(app, model_id=name).content["event_type"] == "finished"
    loaded = {model.model for model in app.services.queue.status().models}
    assert loaded == {"demo/tiny", "demo/pickled", "demo/no-checker"}
