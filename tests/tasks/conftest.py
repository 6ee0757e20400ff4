"""The dispatcher over a real database and the real job queue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks_server import STATUS, Driven, Server, StartTasks

from sd_api.jobs.local import LocalQueue
from sd_api.settings import Settings
from sd_api.stores import open_stores


@pytest.fixture
def engine() -> Driven:
    return Driven()


@pytest.fixture
def start(tmp_path: Path, engine: Driven, tmp_model: Path) -> Iterator[StartTasks]:
    """Start the server's part that deals with tasks; each start has the same data."""
    started: list[Server] = []

    def start(*, ahead: int = 4, interrupted: Any = "rerun", prepare: Any = None, **limits: int) -> Server:
        # As many ahead as a client may have in the queue.
        limits = {"max_queued_requests_per_client": ahead, "max_queued_requests": 2 * ahead} | limits
        settings = Settings.model_validate(
            {"model": str(tmp_model), "data": tmp_path, "limits": limits, "interrupted_tasks": interrupted}
        )
        queue = LocalQueue(lambda: engine, STATUS, settings.limits)
        started.append(Server(settings, open_stores(settings), queue))
        if prepare is not None:
            prepare(started[-1])
        queue.start()
        started[-1].dispatcher.start()
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
