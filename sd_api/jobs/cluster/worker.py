"""A worker: one engine on one device, which makes what its turns bring."""

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
from sd_api.jobs.cluster.board import Claim, JobBoard
from sd_api.jobs.cluster.claimed import ClaimedJob
from sd_api.jobs.cluster.feed import ClaimFeed
from sd_api.jobs.cluster.work_tokens import ACTOR, QUEUE, TokenBroker
from sd_api.jobs.engine_thread import EngineThread
from sd_api.jobs.job import Listener
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

log = logging.getLogger(__name__)

# So many signs of life are given in the time that a worker may be silent.
BEATS = 6

# Milliseconds in which Dramatiq's thread notices that it shall stop.
DRAMATIQ_TIMEOUT = 100

# Seconds that a job may go on beyond its limit before it is given up: its engine does not come back.
STUCK_SECONDS = 60.0

# Seconds for which a worker whose engine does not start keeps away from a turn that others can take.
UNABLE_PAUSE = 1.0


class ClusterWorker:
    """Makes jobs until it is stopped.

    Args:
        cluster: where the others are.
        make_engine: makes the engine, on the thread that will use it.
        loading: what is told of the engine until it is there.
        limits: the most that a job may ask for, and how long it may take.
        listeners: are told of every change of its jobs.
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
        self._interval = min(1.0, cluster.worker_timeout / BEATS)
        self._limits = limits
        self._listeners = listeners
        self._engine = EngineThread(make_engine, loading)
        self._client = connect(cluster)
        self._hasty_client = connect(cluster, attempts=0)
        self._board = JobBoard(self._client, cluster)
        self._reports = JobBoard(self._hasty_client, cluster)
        self._jobs: tuple[ClaimedJob, ...] = ()
        self._busy = True
        self._stopping = threading.Event()
        self._broker = TokenBroker(self._client, cluster, self.id, before_waiting=self._beat)
        self._broker.add_middleware(_OnWorkerThread(self._start_engine))
        self._dramatiq = dramatiq.Worker(self._broker, worker_threads=1, worker_timeout=DRAMATIQ_TIMEOUT)
        # A second turn is not taken before the first is over, so that an idle worker can have it.
        self._dramatiq.queue_prefetch = 1
        self._heart = threading.Thread(target=self._beat_on, name="heart", daemon=True)

    def start(self) -> None:
        """Make the engine, load its model, and take turns from then on."""
        self._heart.start()
        self._dramatiq.start()

    def stop(self, timeout: float) -> bool:
        """Give back what is not done, for others to make, and end.

        Args:
            timeout: seconds to wait for each thread.

        Returns:
            Whether the engine's thread has ended, which it does after its step.
        """
        if not self._stopping.is_set():
            self._stopping.set()
            self._give_back()
        self._dramatiq.stop(int(timeout * 1000))
        self._heart.join(timeout)
        ended = not any(thread.is_alive() for thread in (*self._dramatiq.workers, self._heart))
        if ended:
            self._client.close()
            self._hasty_client.close()
        return ended

    def _give_back(self) -> None:
        try:
            for job in self._jobs:
                job.lose()
                if self._reports.release(job.claim):
                    self._broker.issue_token()
            self._reports.remove_worker(self.id)
            self._broker.stop_waiting()
        except redis.RedisError as error:
            log.warning("The others find out by themselves that this worker has stopped: %s", error)

    def _start_engine(self) -> None:
        self._engine.start()
        self._busy = False
        if not self._stopping.is_set():
            # Its queue is declared by that, and from then on turns are taken.
            dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=self._broker)(self._take_turn)

    def _take_turn(self) -> None:
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
            # It was told to stop after it had looked for a job.
            self._give_back()
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

    def _note_jobs(self, jobs: Sequence[ClaimedJob]) -> None:
        """Take the jobs that have begun into the heartbeats."""
        self._jobs = tuple(jobs)
        if self._stopping.is_set():
            self._give_back()
        with contextlib.suppress(redis.RedisError):
            # So that it is seen at once; the heart says it again.
            self._beat()

    def _open_job(self, claim: Claim) -> ClaimedJob | None:
        """The job with its request; where that cannot be read here, it has failed."""
        try:
            request, client = self._board.request(claim, self._limits)
        except redis.RedisError:
            raise
        except Exception as error:
            self._board.end(claim, generation_failure(log, error, f"reading job {claim.job_id}"))
            return None
        job = ClaimedJob(
            claim,
            request,
            client,
            self._limits.max_job_seconds,
            reports=self._reports,
            outcomes=self._board,
            stopping=self._stopping,
        )
        for listener in self._listeners:
            job.listen(listener)
        return job

    def _beat_on(self) -> None:
        was_idle = False
        while not self._stopping.wait(self._interval):
            try:
                self._beat()
                waiting = self._reports.expire_leases()
                idle = not self._busy
                if waiting and idle and was_idle:
                    # Whose turn that was, is lost: with a worker, or with somebody who died between two words.
                    self._broker.issue_token()
                was_idle = idle
            except redis.RedisError as error:
                log.warning("Redis cannot be used: %s", error)
            except Exception:
                # A heart that stands still would make this worker a dead one.
                log.exception("A sign of life failed")

    def _beat(self) -> None:
        """Tell that this worker lives, and what it does."""
        jobs, status = self._jobs, self._engine.status()
        if self._stopping.is_set():
            return
        worker = WorkerStatus(
            id=self.id, started=self._started, engine=status, jobs=tuple(job.id for job in jobs if not job.ended)
        )
        lost = self._reports.heartbeat(
            worker, self._renewed(jobs), healthy=status.state != "failed", idle=not self._busy
        )
        for job in jobs:
            if job.id in lost:
                job.lose()

    def _renewed(self, jobs: Sequence[ClaimedJob]) -> list[Claim]:
        """The claims of those jobs that go on."""
        longest = self._limits.max_job_seconds + STUCK_SECONDS
        return [job.claim for job in jobs if job.working_seconds() < longest]


class _OnWorkerThread(Middleware):
    """Calls something on Dramatiq's thread, before its first message."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_worker_thread_boot(self, *_: object) -> None:
        self._call()
