"""The progress of a task that is in the job queue, for those who watch it."""

import time
from typing import Any

from sd_api.jobs.job import Job
from sd_api.jobs.queue import JobQueue
from sd_api.storage.protocols import Event, Task
from sd_api.tasks.event_bus import EventBus, preview_channel
from sd_api.tasks.previews import preview_id

# Seconds between two requests for previews of a job, which are made for PREVIEW_INTEREST after each.
ASK_INTERVAL = 1.0


class Watch:
    """Publishes the progress of one task, and has previews made while there are listeners for them.

    Args:
        task: the task.
        jobs: the job queue.
        event_bus: where progress is published, which is not stored.
    """

    def __init__(self, task: Task, jobs: JobQueue, event_bus: EventBus) -> None:
        self._task = task
        self._jobs = jobs
        self._event_bus = event_bus
        # When previews are asked for again, and the last one that an event has named.
        self._ask_at = 0.0
        self._named: bytes | None = None
        # The seconds that the whole job was expected to take before its first step.
        self._expected: float | None = None

    def publish(self, job: Job) -> None:
        """Publish the last step of the task's job, if there are listeners."""
        task, status = self._task, job.status()
        if status.progress is None or not self._event_bus.has_listeners(task.owner):
            return
        channel = preview_channel(task.owner)
        previews_wanted = self._event_bus.has_listeners(channel)
        content: dict[str, Any] = {
            "event_type": "progress",
            **status.progress.as_json(),
            "seconds_left": self._seconds_left(job, previews_wanted=previews_wanted),
        }
        self._event_bus.publish(Event(None, task.id, task.owner, content))
        if previews_wanted:
            # Each preview is named once, because there are more steps than previews.
            if status.preview is not None and status.preview != self._named:
                self._named = status.preview
                content = {**content, "preview_blob_id": preview_id(task.id, status.progress.step)}
            self._event_bus.publish(Event(None, task.id, channel, content))

    def _seconds_left(self, job: Job, *, previews_wanted: bool) -> float | None:
        """The estimate, for which the queue is asked before the first step only; it also asks for previews."""
        now, begins = time.monotonic(), job.progress is not None and not job.progress.step
        asks = previews_wanted and now >= self._ask_at
        if asks:
            self._ask_at = now + ASK_INTERVAL
        if asks or begins:
            left = self._jobs.job(job.id, preview=asks).seconds_left
            if begins:
                self._expected = None if left is None else left + job.working_seconds()
        return job.seconds_left(self._expected)
