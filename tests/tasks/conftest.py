"""The runner over a real database and the real queue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks_server import STATUS, Driven, Server, StartTasks

from sd_api.jobs.local import LocalQueue
from sd_api.models.catalog import ModelCatalog
from sd_api.settings import Settings
from sd_api.storage.blobs import SqlBlobs
from sd_api.storage.database import Database
from sd_api.storage.files import ContentFiles
from sd_api.storage.protocols import Event
from sd_api.storage.tasks import SqlTasks
from sd_api.tasks.announcements import LocalAnnouncements
from sd_api.tasks.journal import Journal
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.runner import TaskRunner
from sd_api.tasks.service import TaskService


@pytest.fixture
def engine() -> Driven:
    return Driven()


@pytest.fixture
def start(tmp_path: Path, engine: Driven, tmp_model: Path) -> Iterator[StartTasks]:
    """Start the server's part that deals with tasks; each start has the same data."""
    started: list[Server] = []

    def start(*, ahead: int = 4, interrupted: Any = "rerun", prepare: Any = None, **limits: int) -> Server:
        settings = Settings.model_validate({"model": str(tmp_model), "limits": limits})
        database = Database(tmp_path / "server.sqlite")
        store = SqlTasks(database)
        blobs = SqlBlobs(database, ContentFiles(tmp_path / "blobs"), settings.limits)
        queue = LocalQueue(lambda: engine, STATUS, settings.limits)
        announcements = LocalAnnouncements()
        events: list[Event] = []
        announcements.listen("user:a", events.append)
        journal = Journal(store, announcements)
        requests = RequestMaker(ModelCatalog(settings), blobs, settings.limits)
        runner = TaskRunner(queue, store, blobs, journal, announcements, requests, ahead=ahead, interrupted=interrupted)
        tasks = TaskService(queue, store, blobs, journal, requests, runner, settings.limits)
        started.append(Server(queue, store, blobs, runner, tasks, events, announcements, database))
        if prepare is not None:
            prepare(started[-1])
        queue.start()
        runner.start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def tmp_model(tmp_path: Path) -> Path:
    """What passes for the folder of a model that is never loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    return folder
