"""The part of the server that deals with tasks, with an engine that the test drives."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sd_api.errors import JobCancelled
from sd_api.generation.engine import EngineStatus, Feed, Progress, Run
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.queue import JobQueue
from sd_api.models.catalog import ModelCatalog
from sd_api.settings import Settings
from sd_api.storage.protocols import Event, Task
from sd_api.stores import Stores
from sd_api.tasks.dispatcher import TaskDispatcher
from sd_api.tasks.journal import Journal
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.service import TaskService

STATUS = EngineStatus("ready", "a model")


class Driven:
    """An engine that makes a picture, which is the prompt, for each permission."""

    def __init__(self) -> None:
        self.permissions = threading.Semaphore(0)
        self.made: list[str] = []
        self.error: Exception | None = None
        self.previews = 0

    def load(self) -> None:
        pass

    def status(self) -> EngineStatus:
        return STATUS

    def at_once(self) -> int:
        return 1

    def serve(self, feed: Feed) -> None:
        while runs := feed.poll(1, active=False) or feed.wait(1):
            for run in runs:
                self._make(run)

    def _make(self, run: Run) -> None:
        may = False
        while not may:
            try:
                run.report(Progress("denoising", 0, 1))
            except JobCancelled:
                return
            if run.preview_wanted:
                self.previews += 1
                run.show(b"preview %d" % self.previews)
            may = self.permissions.acquire(timeout=0.01)
        if self.error is not None:
            raise self.error
        self.made.append(run.spec.operation.prompt)
        content = run.spec.operation.prompt.encode()
        run.finish(GenerationResult(tuple(GeneratedImage(content, seed, False) for seed in run.spec.seeds)))


class Server:
    """The part of a server that deals with tasks.

    Args:
        settings: the configuration.
        stores: what it keeps things with.
        queue: what runs its jobs.
    """

    def __init__(self, settings: Settings, stores: Stores, queue: JobQueue) -> None:
        self.stores, self.queue = stores, queue
        self.store, self.blobs, self.event_bus = stores.tasks, stores.blobs, stores.event_bus
        self.events: list[Event] = []
        stores.event_bus.subscribe("user:a", self.events.append)
        journal = Journal(stores.tasks, stores.event_bus)
        requests = RequestMaker(ModelCatalog(settings), stores.blobs, settings.limits)
        self.dispatcher = TaskDispatcher(
            queue,
            stores.tasks,
            stores.blobs,
            journal,
            stores.event_bus,
            requests,
            stores.task_queue,
            interrupted=settings.interrupted_tasks,
        )
        self.tasks = TaskService(queue, stores.tasks, stores.blobs, journal, requests, self.dispatcher)

    def create(self, prompt: str, owner: str = "user:a", **parameters: Any) -> str:
        return self.tasks.create(owner, {"prompt": prompt, "width": 64, "height": 64, **parameters})

    def wait(self, task_id: str, *states: str, owner: str = "user:a") -> Event:
        deadline = time.monotonic() + 20
        while (event := self.tasks.last_event(owner, task_id)).content["event_type"] not in states:
            assert time.monotonic() < deadline, event
            time.sleep(0.005)
        return event

    def kinds(self, task_id: str) -> list[str]:
        """What is kept of a task's events."""
        owner = "user:a"
        events = self.store.events_since(owner, 0, limit=1000)
        return [event.content["event_type"] for event in events if event.task_id == task_id]

    def stop(self) -> None:
        assert self.queue.stop(timeout=10)
        self.dispatcher.stop(timeout=10)
        self.stores.close()


StartTasks = Callable[..., Server]


def leave_interrupted(server: Server, starts: int = 1) -> Task:
    """Leave a task as a killed server does: started, and not ended."""
    parameters = {"prompt": "left", "width": 64, "height": 64, "seed": 1}
    task = Task(uuid4().hex, "user:a", parameters, "pending", time.time())
    server.store.add(task, {"event_type": "pending"})
    for _ in range(starts):
        server.store.record(task, "started", {"event_type": "started"})
    return replace(task, state="started")
