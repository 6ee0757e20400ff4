"""A worker: one engine on one device. Each work token that it receives lets it claim jobs."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import dramatiq
import redis
from dramatiq.middleware import Middleware

from sd_api.cluster.connection import connect
from sd_api.errors import generation_failure
from sd_api.generation.engine import Engine, EngineStatus
from sd_api.jobs.cluster.claimed import ClaimedJob
from sd_api.jobs.cluster.feed import ClaimFeed
from sd_api.jobs.cluster.work_tokens import ACTOR, QUEUE, TokenBroker
from sd_api.jobs.cluster.worker_board import Claim, WorkerBoard
from sd_api.jobs.engine_thread import EngineThread
from sd_api.jobs.job import Listener
from sd_api.jobs.queue import planned
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

log = logging.getLogger(__name__)

# Heartbeats within one worker_timeout.
HEARTBEATS_PER_TIMEOUT = 6

# Milliseconds within which Dramatiq's threads notice a stop.
DRAMATIQ_TIMEOUT = 100

# Seconds beyond a job's time limit after which its lease is no longer renewed, because the engine is stuck.
STUCK_SECONDS = 60.0

# Seconds for which a worker without a working engine holds back a token that another worker could redeem.
UNABLE_PAUSE = 1.0


class ClusterWorker:
    """Claims jobs from Redis and runs them until it is stopped.

    Args:
        cluster: the settings of the cluster: the Redis and the timeouts.
        make_engine: makes the engine, on the thread that will use it.
        loading: the engine's status until the engine has been made.
        limits: the limits of a job's fields and of its time.
        listeners: called with a job of this worker after each of its changes.
    """

    def __init__(
        self,
        cluster: Cluster,
        make_engine: Callable[[], Engine],
        loading: EngineStatus,
        limits: Limits,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        self.id = uuid4().hex
        self._started = time.time()
        self._interval = min(1.0, cluster.worker_timeout / HEARTBEATS_PER_TIMEOUT)
        self._limits = limits
        self._listeners = listeners
        self._engine = EngineThread(make_engine, loading)
        self._client = connect(cluster)
        self._client_without_retries = connect(cluster, attempts=0)
        self._board = WorkerBoard(self._client, cluster)
        self._reports = WorkerBoard(self._client_without_retries, cluster)
        self._jobs: tuple[ClaimedJob, ...] = ()
        self._busy = True
        self._stopping = threading.Event()
        self._broker = TokenBroker(self._client, cluster, self.id, before_waiting=self._send_heartbeat)
        self._broker.add_middleware(_OnWorkerThread(self._start_engine))
        self._dramatiq = dramatiq.Worker(self._broker, worker_threads=1, worker_timeout=DRAMATIQ_TIMEOUT)
        # A second token is not fetched before the first is redeemed, so that an idle worker can have it.
        self._dramatiq.queue_prefetch = 1
        self._heartbeat_thread = threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the threads: they make the engine, load its model, and then redeem work tokens."""
        self._heartbeat_thread.start()
        self._dramatiq.start()

    def stop(self, timeout: float) -> bool:
        """Release the unfinished jobs to other workers, and stop.

        Args:
            timeout: seconds to wait for each thread.

        Returns:
            Whether all threads have ended; the engine's ends after its current step.
        """
        if not self._stopping.is_set():
            self._stopping.set()
            self._release_jobs()
        self._dramatiq.stop(int(timeout * 1000))
        self._heartbeat_thread.join(timeout)
        ended = not any(thread.is_alive() for thread in (*self._dramatiq.workers, self._heartbeat_thread))
        if ended:
            self._client.close()
            self._client_without_retries.close()
        return ended

    def _release_jobs(self) -> None:
        try:
            for job in self._jobs:
                job.lose()
                if self._reports.release(job.claim):
                    self._broker.issue_token()
            self._reports.remove_worker(self.id)
            self._broker.stop_waiting()
        except redis.RedisError as error:
            log.warning("This worker could not sign off in Redis; its leases will expire: %s", error)

    def _start_engine(self) -> None:
        self._engine.start()
        self._busy = False
        if not self._stopping.is_set():
            # This declares the queue; Dramatiq fetches tokens from then on.
            dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=self._broker)(self._redeem_token)

    def _redeem_token(self) -> None:
        self._busy = True
        try:
            if self._stopping.is_set():
                self._broker.issue_token()
            else:
                self._work()
        except redis.RedisError as error:
            log.warning("Redis cannot be used: %s", error)
        finally:
            self._jobs = ()
            self._busy = False

    def _work(self) -> None:
        status = self._engine.status()
        able = status.state != "failed"
        claims, kept_for = self._board.claim(
            self.id, healthy=able, models=status.abilities, at_once=self._engine.at_once()
        )
        if kept_for:
            self._broker.issue_token(kept_for)
        elif not claims and not able:
            self._stopping.wait(UNABLE_PAUSE)
            self._broker.issue_token()
        jobs = [job for claim in claims if (job := self._open_job(claim)) is not None]
        self._jobs = tuple(jobs)
        if self._stopping.is_set():
            # stop() was called while the jobs were being claimed.
            self._release_jobs()
        elif jobs:
            feed = ClaimFeed(
                jobs,
                worker=self.id,
                board=self._reports,
                open_job=self._open_job,
                status=self._engine.status,
                begun=self._note_jobs,
            )
            self._engine.serve(feed)
            for job in self._jobs:
                if job.ended:
                    job.settle()

    def _note_jobs(self, jobs: Sequence[ClaimedJob]) -> None:
        """Include the jobs that have begun in the heartbeats, beside those whose outcome is still being written."""
        self._jobs = tuple(dict.fromkeys((*(job for job in self._jobs if not job.settled), *jobs)))
        if self._stopping.is_set():
            self._release_jobs()
        with contextlib.suppress(redis.RedisError):
            # Reports the jobs at once; if Redis is away, the next heartbeat reports them.
            self._send_heartbeat()

    def _open_job(self, claim: Claim) -> ClaimedJob | None:
        """The job of a claim; None if its spec cannot be decoded, in which case the job has failed."""
        try:
            request, client, subscribers = self._board.request(claim, self._limits)
            request = planned(request, lambda: self._engine.status().abilities)
        except redis.RedisError:
            raise
        except Exception as error:
            self._board.end(claim, generation_failure(log, error, f"reading job {claim.job_id}"))
            return None
        job = ClaimedJob(
            claim,
            request,
            client,
            subscribers,
            self._limits.max_job_seconds,
            device=self._engine.status().device,
            reports=self._reports,
            outcomes=self._board,
            stopping=self._stopping,
        )
        for listener in self._listeners:
            job.listen(listener)
        return job

    def _send_heartbeats(self) -> None:
        was_idle = False
        while not self._stopping.wait(self._interval):
            try:
                self._send_heartbeat()
                waiting = self._reports.expire_leases()
                idle = not self._busy
                if waiting and idle and was_idle:
                    # The token of a queued job is lost: its worker or its server died between two commands.
                    self._broker.issue_token()
                was_idle = idle
            except redis.RedisError as error:
                log.warning("Redis cannot be used: %s", error)
            except Exception:
                # If this thread ended, the other machines would take this worker for dead.
                log.exception("A heartbeat failed")

    def _send_heartbeat(self) -> None:
        """Report this worker's status and renew the leases of its jobs."""
        jobs, status = self._jobs, self._engine.status()
        if self._stopping.is_set():
            return
        worker = WorkerStatus(
            id=self.id, started=self._started, engine=status, jobs=tuple(job.id for job in jobs if not job.ended)
        )
        lost = self._reports.heartbeat(
            worker, [job.held() for job in self._renewed(jobs)], healthy=status.state != "failed", idle=not self._busy
        )
        for job in jobs:
            if job.id in lost:
                job.lose()

    def _renewed(self, jobs: Sequence[ClaimedJob]) -> list[ClaimedJob]:
        """The jobs whose leases are renewed; none where the engine is stuck in one of the jobs."""
        longest = self._limits.max_job_seconds + STUCK_SECONDS
        # The clocks of the jobs that were overtaken stand still, so they would be kept for ever.
        stuck = any(job.working_seconds() >= longest for job in jobs if not job.ended)
        return [] if stuck else list(jobs)


class _OnWorkerThread(Middleware):
    """Calls a function on Dramatiq's worker thread before its first message."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_worker_thread_boot(self, *_: object) -> None:
        self._call()
