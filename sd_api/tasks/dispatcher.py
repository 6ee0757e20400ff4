"""The dispatcher: one thread sends pending tasks to the job queue and stores how they go on."""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from sd_api.errors import ImagesHeld, QueueFull, ServerStopping, StoreUnavailable, UnknownJob
from sd_api.jobs.job import ENDED, Job
from sd_api.jobs.queue import JobQueue
from sd_api.owners import client_of, qualified
from sd_api.storage.protocols import UNFINISHED, BlobStore, Task, TaskStore
from sd_api.tasks.event_bus import EventBus
from sd_api.tasks.journal import Journal
from sd_api.tasks.outcomes import TaskOutcomes
from sd_api.tasks.requests import RequestMaker
from sd_api.tasks.task_queue import TaskQueue
from sd_api.tasks.watch import Watch

log = logging.getLogger(__name__)

# Seconds until a failed action is tried again; it fails while the job queue or the disk is full, or Redis is away.
RETRY_INTERVAL = 1.0

# A task that has started so often without an end may be what crashes the server, so it is not started again.
MAX_STARTS = 5


@dataclass
class _Dispatched:
    """A task that is in the job queue.

    Attributes:
        task: the task.
        watch: publishes its progress.
        warnings: what its job does other than its parameters say.
        started: whether its start has been recorded.
    """

    task: Task
    watch: Watch
    warnings: list[str]
    started: bool = False


class TaskDispatcher:
    """Sends tasks from the store to the job queue, follows their jobs, and stores the results.

    Args:
        jobs: the job queue.
        tasks: where tasks are stored.
        blobs: where their pictures are stored.
        journal: stores and publishes the tasks' changes.
        event_bus: where progress is published, which is not stored.
        requests: makes the jobs' requests from the tasks' parameters.
        pending: the tasks that are to be dispatched.
        interrupted: whether a task that was running when the server ended is run again or cancelled.
    """

    def __init__(
        self,
        jobs: JobQueue,
        tasks: TaskStore,
        blobs: BlobStore,
        journal: Journal,
        event_bus: EventBus,
        requests: RequestMaker,
        pending: TaskQueue,
        *,
        interrupted: Literal["rerun", "cancel"],
    ) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._blobs = blobs
        self._journal = journal
        self._outcomes = TaskOutcomes(blobs, journal)
        self._event_bus = event_bus
        self._requests = requests
        self._pending = pending
        self._interrupted = interrupted
        # The actions for the dispatcher's thread; None ends the thread.
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # The actions that have failed for now, when they are tried again, and whether there is anything to try again.
        self._retries: list[Callable[[], None]] = []
        self._retry_at = 0.0
        self._retry_needed = False
        # Whether the job queue may have room for another task: not after each step of a job.
        self._may_dispatch = True
        self._dispatched: dict[str, _Dispatched] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="tasks", daemon=True)

    def start(self) -> None:
        """Recover the tasks that were unfinished when the server ended, and start the thread."""
        self._pending.start(lambda tasks: self._inbox.put(partial(self._recover, deque(tasks))))
        self._thread.start()

    def add(self, task: Task) -> None:
        """Queue a new task."""
        self._inbox.put(partial(self._queue, task))

    def stop(self, timeout: float) -> None:
        """Record the changes that have arrived so far, and stop; the next start recovers unfinished tasks.

        Args:
            timeout: seconds to wait for the thread.
        """
        self._inbox.put(None)
        self._thread.join(timeout)
        self._pending.stop()

    def _work(self) -> None:
        while self._work_on():
            pass

    def _work_on(self) -> bool:
        """Do the next actions, or wait for one; False once the thread shall end."""
        # In a method of its own, so that no local variable keeps a job's pictures in memory while the thread waits.
        actions: list[Callable[[], None]] = []
        try:
            action = self._inbox.get(timeout=RETRY_INTERVAL if self._retry_needed else None)
        except queue.Empty:
            pass
        else:
            if action is None:
                return False
            actions.append(action)
        if time.monotonic() >= self._retry_at:
            actions, self._retries = self._retries + actions, []
        for action in actions:
            if not self._try(action):
                self._retries.append(action)
                self._retry_at = time.monotonic() + RETRY_INTERVAL
        if self._may_dispatch:
            self._may_dispatch = not self._try(self._dispatch)
        self._retry_needed = self._may_dispatch or bool(self._retries)
        return True

    def _try(self, action: Callable[[], None]) -> bool:
        """Do an action; False if it has to be tried again."""
        try:
            action()
        except (QueueFull, ImagesHeld):
            return False
        except StoreUnavailable as error:
            log.warning("The state of a task cannot be stored yet: %s", error.message)
            return False
        except Exception:
            # The next start recovers the task.
            log.exception("The state of a task could not be stored")
        return True

    def _queue(self, task: Task) -> None:
        self._pending.add(task)
        self._may_dispatch = True

    def _recover(self, tasks: deque[Task]) -> None:
        """Queue the tasks that a process has left unfinished when it ended; tasks whose jobs still run are followed."""
        self._may_dispatch = True
        while tasks:
            task = tasks[0]
            if task.state == "started" and self._job_exists(task):
                self._submit_or_fail(task)
            elif task.state != "started" or self._may_run_again(task):
                self._pending.add(replace(task, state="pending"))
            tasks.popleft()

    def _job_exists(self, task: Task) -> bool:
        try:
            self._jobs.job(_job_id(task))
        except UnknownJob:
            return False
        return True

    def _may_run_again(self, task: Task) -> bool:
        """Whether an interrupted task shall run again; records what becomes of it."""
        if self._interrupted == "cancel":
            self._journal.record(task, "cancelled", {"reason": "The server ended while this task was running."})
            return False
        if self._tasks.count_starts(task) >= MAX_STARTS:
            reason = f"The server ended {MAX_STARTS} times while this task was running."
            self._journal.record(task, "cancelled", {"reason": reason})
            return False
        return self._journal.record(task, "pending")

    def _dispatch(self) -> None:
        """Send tasks to the job queue while there is room."""
        while not self._stopping and (task := self._pending.next(len(self._dispatched))) is not None:
            try:
                self._submit_or_fail(task)
            except ServerStopping:
                self._stopping = True
                return
            self._pending.take()

    def _submit_or_fail(self, task: Task) -> None:
        try:
            self._submit(task)
        except (QueueFull, ImagesHeld, StoreUnavailable, ServerStopping):
            raise
        except Exception as error:
            self._outcomes.fail(task, error)

    def _submit(self, task: Task) -> None:
        if self._tasks.task(task.owner, task.id).state not in UNFINISHED:
            return
        if task.state == "pending":
            # Since it was accepted, the pictures of earlier tasks may have filled the quota.
            self._blobs.check_quota(task.owner)
        spec, warnings = self._requests.make(task.owner, task.parameters)
        # The task may have a job already, from a process that has ended since.
        client = client_of(task.owner)
        job = self._jobs.submit(spec, job_id=_job_id(task), client=client, dialect="tasks", rejoin=True)
        watch = Watch(task, self._jobs, self._event_bus)
        self._dispatched[job.id] = _Dispatched(task, watch, warnings, started=task.state == "started")
        job.listen(lambda job: self._inbox.put(partial(self._follow, job)))
        # The job may have started, or even ended, before it had this listener; the owner may have cancelled the task.
        self._inbox.put(partial(self._follow, job))
        self._inbox.put(partial(self._stop_if_ended, task))

    def _stop_if_ended(self, task: Task) -> None:
        if self._tasks.task(task.owner, task.id).state not in UNFINISHED:
            self._cancel(task)

    def _cancel(self, task: Task) -> None:
        with contextlib.suppress(UnknownJob):
            self._jobs.cancel(_job_id(task), "This task was cancelled.")

    def _follow(self, job: Job) -> None:
        """Record the state of a job, which may have changed again since its listener was called."""
        dispatched = self._dispatched.get(job.id)
        if dispatched is None:
            return
        status = job.status()
        # The end of a job on another machine may be its first update to arrive.
        has_started = status.started is not None or status.state == "finished"
        if has_started and not dispatched.started:
            if not self._journal.record(dispatched.task, "started"):
                self._cancel(dispatched.task)
            dispatched.started = self._may_dispatch = True
        if status.state in ENDED:
            del self._dispatched[job.id]
            self._may_dispatch = True
            try:
                self._end(dispatched, job)
            except StoreUnavailable:
                self._dispatched[job.id] = dispatched
                raise
        else:
            dispatched.watch.publish(job)

    def _end(self, dispatched: _Dispatched, job: Job) -> None:
        task = dispatched.task
        try:
            result = job.result()
        except ServerStopping:
            log.info("Task %s will go on after the next start", task.id)
        except Exception as error:
            self._outcomes.fail(task, error)
        else:
            self._outcomes.finish(task, result, [*dispatched.warnings, *result.warnings])


def _job_id(task: Task) -> str:
    return qualified(task.owner, task.id)
