"""Feeds kept tasks to the queue, and keeps what becomes of them; one thread does all of it."""

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

from sd_api.errors import QueueFull, ServerStopping, StoreUnavailable, UnknownJob, generation_failure
from sd_api.jobs.job import ENDED, Job
from sd_api.jobs.line import WaitingLine
from sd_api.jobs.queue import JobQueue
from sd_api.storage.protocols import ALIVE, BlobStore, Event, Task, TaskStore
from sd_api.tasks.announcements import Announcements, previews_of
from sd_api.tasks.journal import Journal
from sd_api.tasks.parameters import parse_parameters
from sd_api.tasks.previews import preview_id
from sd_api.tasks.requests import RequestMaker

log = logging.getLogger(__name__)

# Seconds after which a full queue is tried again, where no task's end tells that there is room; and a full disk.
RETRY = 1.0

# A task that has begun so often and never ended may be what ends the server.
MOST_STARTS = 5


@dataclass(frozen=True)
class _Pending:
    task: Task

    @property
    def client(self) -> str:
        return self.task.owner


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
        ahead: how many tasks may be in the queue; the others wait in the store and leave room for other clients.
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
        *,
        ahead: int,
        interrupted: Literal["rerun", "cancel"],
    ) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._blobs = blobs
        self._journal = journal
        self._announcements = announcements
        self._requests = requests
        self._ahead = ahead
        self._interrupted = interrupted
        self._inbox: queue.SimpleQueue[Task | Job | None] = queue.SimpleQueue()
        self._line: WaitingLine[_Pending] = WaitingLine()
        self._fed: dict[str, _Fed] = {}
        # What has become of these, by their ids, could not be kept yet.
        self._unkept: dict[str, Job] = {}
        self._try_at = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="tasks", daemon=True)

    def start(self) -> None:
        """Take up what was left when the server ended, and work."""
        for task in self._tasks.alive():
            if task.state == "started" and not self._take_up(task):
                continue
            self._line.add(_Pending(task))
        self._thread.start()

    def add(self, task: Task) -> None:
        """Have a new task run when its turn comes."""
        self._inbox.put(task)

    def stop(self, timeout: float) -> None:
        """Record what has been told so far, and no more; what has not ended is taken up by the next start.

        Args:
            timeout: seconds to wait for that.
        """
        self._inbox.put(None)
        self._thread.join(timeout)

    def _take_up(self, task: Task) -> bool:
        """Whether an interrupted task shall run again."""
        if self._interrupted == "cancel":
            self._journal.record(task, "cancelled", {"reason": "The server ended while this task was running."})
            return False
        if self._tasks.count_starts(task) >= MOST_STARTS:
            reason = f"The server ended {MOST_STARTS} times while this task was running."
            self._journal.record(task, "cancelled", {"reason": reason})
            return False
        return self._journal.record(task, "pending")

    def _work(self) -> None:
        self._feed()
        while True:
            try:
                news = self._inbox.get(timeout=RETRY if len(self._line) or self._unkept else None)
            except queue.Empty:
                pass
            else:
                if news is None:
                    return
                self._take(news)
                # Without this the last job's pictures would stay in memory until the next one.
                del news
            self._take_again()
            self._feed()

    def _take(self, news: Task | Job) -> None:
        if isinstance(news, Task):
            self._line.add(_Pending(news))
            return
        try:
            self._follow(news)
        except StoreUnavailable as error:
            log.warning("What became of task %s cannot be kept yet: %s", news.id, error.message)
            self._unkept[news.id] = news
            self._try_at = time.monotonic() + RETRY
        except Exception:
            # What could not be recorded is taken up by the next start.
            log.exception("What became of task %s could not be recorded", news.id)

    def _take_again(self) -> None:
        if self._unkept and time.monotonic() >= self._try_at:
            unkept, self._unkept = self._unkept, {}
            for job in unkept.values():
                self._take(job)

    def _feed(self) -> None:
        """Give tasks to the queue while there is room."""
        while not self._stopping and len(self._line) and len(self._fed) < self._ahead:
            task = next(iter(self._line)).task
            try:
                self._submit_or_fail(task)
            except (QueueFull, StoreUnavailable):
                return
            except ServerStopping:
                self._stopping = True
                return
            self._line.take()

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
        request = self._requests.make(task.owner, parse_parameters(task.parameters))
        job = self._jobs.submit(request, job_id=task.id, client=task.owner)
        self._fed[task.id] = _Fed(task)
        job.listen(self._inbox.put)
        # It may have begun, or even ended, before anybody listened; and its owner may have cancelled it meanwhile.
        self._inbox.put(job)
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
        if status.started is not None and not fed.started:
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
            images = [self._blobs.make(task.owner, image.png, "image/png") for image in result.images]
            told = [
                {"blob_id": blob.id, "parameters_used": {**task.parameters, "seed": image.seed}, "nsfw": image.nsfw}
                for blob, image in zip(images, result.images, strict=True)
            ]
            details = {"image": told[0], "images": told, "warnings": list(result.warnings)}
            self._journal.record(task, "finished", details, images)
        except StoreUnavailable:
            raise
        except ServerStopping:
            log.info("Task %s will be taken up at the next start", task.id)
        except Exception as error:
            self._fail(task, error)

    def _fail(self, task: Task, error: Exception) -> None:
        failure = generation_failure(log, error, f"task {task.id}")
        self._journal.record(task, "cancelled", {"reason": failure.message})
