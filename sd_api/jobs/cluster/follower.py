"""A thread of an API process that brings its followed jobs to the state that Redis has for them."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable

import redis

from sd_api import __version__
from sd_api.errors import JobCancelled, JobIdTaken, QueueFull, Unavailable, UnknownJob
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.board import JobBoard
from sd_api.jobs.cluster.followed import FollowedJobs
from sd_api.jobs.job import ENDED, Job, State
from sd_api.jobs.queue import FIRST_GUESS_SECONDS
from sd_api.jobs.results_cache import RESULT_TTL_SECONDS
from sd_api.settings import Limits

log = logging.getLogger(__name__)

# Seconds between two polls of all followed jobs, because published updates may be lost.
POLL_INTERVAL = 1.0

# Seconds that clients wait for a Redis that is away, or for a first worker.
MAX_OUTAGE_SECONDS = 30.0

# Seconds between two attempts to reach Redis.
RETRY_PAUSE = 0.2

NO_WORKER = f"No worker is running. Start one of {__version__}: python -m sd_api.worker"


class Follower:
    """Listens to updates, and polls because some may be lost.

    Args:
        server: the id of this process, to which updates are published.
        client: the connection to Redis for the subscription.
        board: the jobs there; its connection does not wait until Redis is back.
        followed: the jobs of this process.
        limits: how many jobs may be queued.
        issue_token: has a worker run one more job; see ``TokenBroker.issue_token``.
    """

    def __init__(
        self,
        server: str,
        client: redis.Redis,
        board: JobBoard,
        followed: FollowedJobs,
        limits: Limits,
        issue_token: Callable[[str | None], None],
    ) -> None:
        self._id = server
        self._client = client
        self._board = board
        self._followed = followed
        self._limits = limits
        self._issue_token = issue_token
        # When this process last saw a worker.
        self._last_worker_seen = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow_all, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop the thread, for which this waits ``timeout`` seconds; returns whether it has ended."""
        self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def drop(self, jobs: list[Job]) -> None:
        """Cancel those of the jobs that are of use to clients of this process only."""
        try:
            for job in jobs:
                if self._followed.waits_only_here(job):
                    with contextlib.suppress(UnknownJob):
                        self._board.cancel(job.id, "No client waits for this job any more.")
        except redis.RedisError as error:
            log.warning("Jobs that no client waits for could not be cancelled: %s", error)

    def _follow_all(self) -> None:
        """Hear of the changes of jobs until the queue stops."""
        last_contact = time.monotonic()
        while not self._stopping.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as updates:  # type: ignore[no-untyped-call]
                    updates.subscribe(f"sd:updates:{self._id}")
                    last_poll = 0.0
                    while not self._stopping.is_set():
                        message = updates.get_message(timeout=POLL_INTERVAL / 4)
                        if message is not None:
                            update = json.loads(message["data"])
                            progress = codec.read_progress(update["progress"])
                            self._apply(update["id"], update["state"], progress, preview=update.get("preview", False))
                        if time.monotonic() - last_poll > POLL_INTERVAL:
                            self._poll()
                            last_poll = time.monotonic()
                        last_contact = time.monotonic()
            except redis.RedisError as error:
                log.warning("Redis cannot be used: %s", error)
                if time.monotonic() - last_contact > MAX_OUTAGE_SECONDS:
                    self._fail_waiting("The server's memory of jobs (Redis) is away for too long. Try again later.")
                self._stopping.wait(RETRY_PAUSE)
            except Exception:
                # Without this thread, no client would hear of its job again.
                log.exception("Following jobs failed")
                self._stopping.wait(RETRY_PAUSE)

    def _poll(self) -> None:
        """Send a heartbeat, expire the leases of dead workers, and read the state of all followed jobs."""
        self._board.server_heartbeat(self._id)
        self._board.expire_leases()
        if self._board.has_workers():
            self._last_worker_seen = time.monotonic()
        elif time.monotonic() - self._last_worker_seen > MAX_OUTAGE_SECONDS:
            self._fail_waiting(NO_WORKER)
        jobs = self._followed.accepted()
        for job, (state, progress) in zip(jobs, self._board.states([job.id for job in jobs]), strict=True):
            if state is None:
                self._submit_again(job)
            else:
                # What is stored is older than the updates.
                self._apply(job.id, state, job.progress or progress)

    def _submit_again(self, job: Job) -> None:
        """Submit a job that Redis has lost, with its last second or with all of its data."""
        log.warning("Redis has lost job %s; it is submitted again", job.id)
        try:
            submission = self._board.submit(job, server=self._id, rejoin=True, limits=self._limits)
        except QueueFull:
            # The next poll tries again.
            return
        except JobIdTaken as error:
            self._followed.forget(job)
            job.fail(error)
            return
        if self._followed.is_cached(job):
            self._board.cache_result(job.id, RESULT_TTL_SECONDS)
        if not submission.joined:
            self._issue_token(submission.worker)

    def _apply(self, job_id: str, state: State, progress: Progress | None, *, preview: bool = False) -> None:
        """Bring a followed job to the state that Redis has for it."""
        job = self._followed.find(job_id)
        if job is None:
            return
        status = job.status()
        if state in ENDED:
            self._end(job)
        elif state == "running":
            with contextlib.suppress(JobCancelled):
                if status.state == "queued":
                    job.start()
                if preview and job.preview_wanted and (content := self._board.preview(job_id)) is not None:
                    job.show(content)
                if progress is not None and progress != status.progress:
                    job.report(progress)

    def _end(self, job: Job) -> None:
        try:
            outcome = self._board.result(job.id)
        except UnknownJob as error:
            outcome = Unavailable(error.message)
        if outcome is None:
            return
        self._followed.forget(job)
        if isinstance(outcome, GenerationResult):
            job.finish(outcome)
        elif isinstance(outcome, JobCancelled):
            job.cancel(outcome.message)
        else:
            job.fail(outcome)

    def _fail_waiting(self, reason: str) -> None:
        """Fail the jobs whose clients wait here; the jobs of tasks, and those whose result is cached, stay queued."""
        jobs = self._followed.waiting_only_here()
        for job in jobs:
            job.fail(Unavailable(reason, FIRST_GUESS_SECONDS))
            self._followed.forget(job)
        self.drop(jobs)
