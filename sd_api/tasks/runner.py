"""Feeds kept tasks to the queue, and keeps what becomes of them; one thread does all of it."""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from sd_api.errors import QueueFull, ServerStopping, StoreUnavailable, UnknownJob, generation_failure
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.jobs.job import ENDED, Job
from sd_api.jobs.queue import JobQueue
from sd_api.storage.protocols import ALIVE, BlobStore, Event, Task, TaskStore
from sd_api.tasks.announcements import Announcements, previews_of
from sd_api.tasks.journal import Journal
from sd_api.tasks.previews import preview_id
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.turns import TaskTurns

log = logging.getLogger(__name__)

# Seconds after which what was not possible is tried again: the queue was full, or the disk, or Redis away.
RETRY = 1.0

# A task that has begun so often and never ended may be what ends the server.
MOST_STARTS = 5


@dataclass
class _Fed:
    """A task that is in the queue.

    Attributes:
        task: which one.
        started: whether its start has been recorded.
        preview: the last one that was told of.
    """

    task: Task
    started: bool = False
    preview: bytes | None = None


class TaskRunner:
    """Carries tasks from the store through the queue.

    Args:
        jobs: the queue.
        tasks: where tasks are kept.
        blobs: where their pictures go.
        journal: where to tell what happens.
        announcements: where to tell of progress, which is not kept.
        requests: makes requests of them.
        turns: whose turn it is.
        interrupted: what becomes of a task that was running when the server ended.
    """

    def __init__(
        self,
        jobs: JobQueue,
        tasks: TaskStore,
        blobs: BlobStore,
        journal: Journal,
        announcements: Announcements,
        requests: RequestMaker,
        turns: TaskTurns,
        *,
        interrupted: Literal["rerun", "cancel"],
    ) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._blobs = blobs
        self._journal = journal
        self._announcements = announcements
        self._requests = requests
        self._turns = turns
        self._interrupted = interrupted
        # What is to be done, on the one thread that does it; None is the last.
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # What was not possible when its turn came, when it is tried again, and whether anything waits for that.
        self._again: list[Callable[[], None]] = []
        self._again_at = 0.0
        self._delayed = False
        self._fed: dict[str, _Fed] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="tasks", daemon=True)

    def start(self) -> None:
        """Take up what was left when the server ended, and work."""
        self._turns.start(lambda tasks: self._inbox.put(partial(self._take_up, deque(tasks))))
        self._thread.start()

    def add(self, task: Task) -> None:
        """Have a new task run when its turn comes."""
        self._inbox.put(partial(self._turns.add, task))

    def stop(self, timeout: float) -> None:
        """Record what has been told so far, and no more; what has not ended is taken up by the next start.

        Args:
            timeout: seconds to wait for that.
        """
        self._inbox.put(None)
        self._thread.join(timeout)
        self._turns.stop()

    def _work(self) -> None:
        while self._work_on():
            pass

    def _work_on(self) -> bool:
        """Do what there is to do, or wait for it; False once there shall be no more."""
        # In a method of its own, so that no job's pictures stay in memory until the next one.
        actions: list[Callable[[], None]] = []
        try:
            action = self._inbox.get(timeout=RETRY if self._delayed else None)
        except queue.Empty:
            pass
        else:
            if action is None:
                return False
            actions.append(action)
        if time.monotonic() >= self._again_at:
            actions, self._again = self._again + actions, []
        for action in actions:
            if not self._is_done(action):
                self._again.append(action)
                self._again_at = time.monotonic() + RETRY
        self._delayed = not self._is_done(self._feed) or bool(self._again)
        return True

    def _is_done(self, action: Callable[[], None]) -> bool:
        """Do something, as far as that is possible now."""
        try:
            action()
        except QueueFull:
            return False
        except StoreUnavailable as error:
            log.warning("What becomes of a task cannot be kept yet: %s", error.message)
            return False
        except Exception:
            # What could not be recorded is taken up by the next start.
            log.exception("What became of a task could not be recorded")
        return True

    def _take_up(self, tasks: deque[Task]) -> None:
        """Have tasks run that were left by a process that has ended; those that run still are followed."""
        while tasks:
            task = tasks[0]
            if task.state == "started" and self._runs_still(task):
                self._submit_or_fail(task)
            elif task.state != "started" or self._may_run_again(task):
                self._turns.add(replace(task, state="pending"))
            tasks.popleft()

    def _runs_still(self, task: Task) -> bool:
        try:
            self._jobs.job(task.id)
        except UnknownJob:
            return False
        return True

    def _may_run_again(self, task: Task) -> bool:
        """Whether an interrupted task shall run again."""
        if self._interrupted == "cancel":
            self._journal.record(task, "cancelled", {"reason": "The server ended while this task was running."})
            return False
        if self._tasks.count_starts(task) >= MOST_STARTS:
            reason = f"The server ended {MOST_STARTS} times while this task was running."
            self._journal.record(task, "cancelled", {"reason": reason})
            return False
        return self._journal.record(task, "pending")

    def _feed(self) -> None:
        """Give tasks to the queue while there is room."""
        while not self._stopping and (task := self._turns.next(len(self._fed))) is not None:
            try:
                self._submit_or_fail(task)
            except ServerStopping:
                self._stopping = True
                return
            self._turns.take()

    def _submit_or_fail(self, task: Task) -> None:
        try:
            self._submit(task)
        except (QueueFull, StoreUnavailable, ServerStopping):
            raise
        except Exception as error:
            self._fail(task, error)

    def _submit(self, task: Task) -> None:
        if self._tasks.task(task.owner, task.id).state not in ALIVE:
            return
        spec = self._requests.make(task.owner, task.parameters)
        # There may be a job of it already, by a process that has ended since.
        job = self._jobs.submit(spec, job_id=task.id, client=task.owner, rejoin=True)
        self._fed[task.id] = _Fed(task, started=task.state == "started")
        job.listen(lambda job: self._inbox.put(partial(self._follow, job)))
        # It may have begun, or even ended, before anybody listened; and its owner may have cancelled it meanwhile.
        self._inbox.put(partial(self._follow, job))
        self._inbox.put(partial(self._stop_if_ended, task))

    def _stop_if_ended(self, task: Task) -> None:
        if self._tasks.task(task.owner, task.id).state not in ALIVE:
            self._cancel(task)

    def _cancel(self, task: Task) -> None:
        with contextlib.suppress(UnknownJob):
            self._jobs.cancel(task.id, "This task was cancelled.")

    def _follow(self, job: Job) -> None:
        """Take note of where a job is; it may have gone on since it told so."""
        fed = self._fed.get(job.id)
        if fed is None:
            return
        status = job.status()
        # Where it ran elsewhere, its end may be the first that is heard of it.
        begun = status.started is not None or status.state == "finished"
        if begun and not fed.started:
            if not self._journal.record(fed.task, "started"):
                self._cancel(fed.task)
            fed.started = True
        if status.state in ENDED:
            del self._fed[job.id]
            try:
                self._end(fed.task, job)
            except StoreUnavailable:
                self._fed[job.id] = fed
                raise
        elif status.progress is not None and self._announcements.anybody(fed.task.owner):
            self._tell_progress(fed)

    def _tell_progress(self, fed: _Fed) -> None:
        task, lookers = fed.task, previews_of(fed.task.owner)
        looked_at = self._announcements.anybody(lookers)
        status = self._jobs.job(task.id, preview=looked_at)
        if status.progress is None:
            return
        content: dict[str, Any] = {
            "event_type": "progress",
            **status.progress.told(),
            "seconds_left": status.seconds_left,
        }
        self._announcements.announce(Event(None, task.id, task.owner, content))
        if looked_at:
            # Once for each preview: there are more steps than previews.
            if status.preview is not None and status.preview != fed.preview:
                fed.preview = status.preview
                content = {**content, "preview_blob_id": preview_id(task.id, status.progress.step)}
            self._announcements.announce(Event(None, task.id, lookers, content))

    def _end(self, task: Task, job: Job) -> None:
        try:
            result = job.result()
        except ServerStopping:
            log.info("Task %s will be taken up at the next start", task.id)
        except Exception as error:
            self._fail(task, error)
        else:
            self._finish(task, result)

    def _finish(self, task: Task, result: GenerationResult) -> None:
        try:
            images = [self._blobs.make(task.owner, image.png, "image/png") for image in result.images]
            told = [
                {"blob_id": blob.id, "parameters_used": _used(task, image), "nsfw": image.nsfw}
                for blob, image in zip(images, result.images, strict=True)
            ]
            details = {"image": told[0], "images": told, "warnings": list(result.warnings)}
            self._journal.record(task, "finished", details, images)
        except StoreUnavailable:
            raise
        except Exception as error:
            self._fail(task, error)

    def _fail(self, task: Task, error: Exception) -> None:
        failure = generation_failure(log, error, f"task {task.id}")
        self._journal.record(task, "cancelled", {"reason": failure.message})


def _used(task: Task, image: GeneratedImage) -> dict[str, Any]:
    """The parameters that make this picture of a task again."""
    used = {**task.parameters, "seed": image.seed}
    return used if image.variation_seed is None else {**used, "variation_seed": image.variation_seed}
