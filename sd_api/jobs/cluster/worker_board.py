"""The jobs in Redis as a worker sees them: it claims them, reports on them and ends them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from sd_api import __version__
from sd_api.errors import JobCancelled, ServerError
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.scripted import Board, batch_of, flat
from sd_api.jobs.dispatch import RunningJobs
from sd_api.jobs.work_rates import HISTORY, JobKind, Timing
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

# Seconds that a job may be passed over for jobs whose model is loaded; so a worker changes its model no more often.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds a lease of.

    Attributes:
        job_id: the job's id.
        attempt: how many times the job has been started; with a later attempt it is another worker's.
    """

    job_id: str
    attempt: int


@dataclass(frozen=True)
class Held:
    """A claimed job whose lease is renewed, and how far it is.

    Attributes:
        claim: the lease.
        progress: the last step; None before the first.
        working_seconds: how long the engine has worked on it.
    """

    claim: Claim
    progress: Progress | None
    working_seconds: float


@dataclass(frozen=True)
class Heard:
    """What a worker hears of a job when it reports a step.

    Attributes:
        wanted: whether the job is still this worker's and wanted.
        stops_early: see Run.
        preview_asked: when a client last asked for previews; None if none has.
        subscribers: the servers that follow the job.
    """

    wanted: bool
    stops_early: bool
    preview_asked: bytes | None
    subscribers: tuple[str, ...]


class WorkerBoard(Board):
    """Claims jobs, reports on them and ends them.

    Attributes:
        queue_changes: counts the changes of the queues, as of the last report; None before the first.
    """

    def __init__(self, client: redis.Redis, cluster: Cluster) -> None:
        super().__init__(client, cluster)
        self.queue_changes: bytes | None = None

    def claim(
        self, worker: str, *, healthy: bool, models: Iterable[str | None], at_once: int
    ) -> tuple[list[Claim], str]:
        """Choose the next jobs of a worker, and give it a lease of each.

        Args:
            worker: the worker's id.
            healthy: whether its engine works.
            models: the models that it has loaded.
            at_once: how many pictures it makes in one batch; see Engine.

        Returns:
            Jobs with the same batch key. If there are none, the id of the worker that a job is reserved for, or "".
        """
        patience = PATIENCE_SECONDS * 1000
        answer = self._call("claim", worker, __version__, int(healthy), _names(models), self._lease, at_once, patience)
        return [Claim(job_id.decode(), attempt) for job_id, attempt in answer[0]], answer[1].decode()

    def join(self, worker: str, running: RunningJobs[Any], *, models: Iterable[str | None]) -> list[tuple[Claim, bool]]:
        """Choose the jobs that a working worker begins at a step boundary, and give it a lease of each.

        Args:
            worker: the worker's id.
            running: the jobs that it works on, at least one.
            models: the models that it has loaded.

        Returns:
            Jobs, each with whether it overtakes; the others join.
        """
        batch = batch_of(running.front()[0].spec)
        room, longest = running.room, repr(running.longest_overtaker())
        answer = self._call("join", worker, __version__, _names(models), self._lease, batch, room, longest)
        return [(Claim(job_id.decode(), attempt), bool(overtakes)) for job_id, attempt, overtakes in answer]

    def request(self, claim: Claim, limits: Limits) -> tuple[JobSpec, str, tuple[str, ...]]:
        """What a job asks for, its client, and the servers that follow it.

        Raises:
            RequestError: this machine's limits are narrower than those of the machine that sent it.
        """
        fields = self._fields(claim.job_id, *codec.SPEC_FIELDS, "client", "subscribers")
        return codec.read_spec(fields, limits), (fields["client"] or b"").decode(), _subscribers(fields["subscribers"])

    def report(self, claim: Claim, subscribers: Iterable[str], progress: Progress, *, preview: bool) -> Heard:
        """Publish a step of a job to the servers that follow it; others hear of it by the next heartbeat.

        Not a script, because these are three commands for each step of each job. A worker that has lost a job publishes
        one step too many, which changes nothing.

        Args:
            claim: the job.
            subscribers: the servers that follow it, as far as is known.
            progress: the step.
            preview: whether there is a new preview.
        """
        update = codec.update_text(claim.job_id, "running", progress, preview=preview)
        with self._client.pipeline(transaction=False) as pipeline:
            for server in subscribers:
                pipeline.publish(f"sd:updates:{server}", update)
            asked = ("state", "attempt", "stops_early", "preview_asked", "subscribers")
            pipeline.hmget(f"sd:jobs:{claim.job_id}", asked)
            pipeline.get("sd:queue:changes")
            *_, (state, attempt, stops_early, preview_asked, known), self.queue_changes = pipeline.execute()
        wanted = state == b"running" and int(attempt) == claim.attempt
        return Heard(wanted, stops_early is not None, preview_asked, _subscribers(known))

    def show(self, claim: Claim, preview: bytes) -> None:
        """Store a preview as PNG, if the job is still this worker's."""
        self._call("show", claim.job_id, claim.attempt, preview)

    def end(
        self, claim: Claim, outcome: GenerationResult | ServerError, timed: tuple[JobKind, Timing] | None = None
    ) -> bool:
        """Record how a job ended; the first end counts.

        Args:
            claim: the job.
            outcome: its pictures, or the error that ended it.
            timed: its kind and its timing; None if the job has no meaningful one.

        Returns:
            Whether this was the first end.
        """
        if isinstance(outcome, GenerationResult):
            state, fields = "finished", codec.result_fields(outcome)
        else:
            state = "cancelled" if isinstance(outcome, JobCancelled) else "failed"
            fields = {"message": codec.error_text(outcome)}
        kind, timing = ("", "") if timed is None else (codec.kind_text(timed[0]), json.dumps(timed[1]))
        return bool(self._call("end", claim.job_id, claim.attempt, state, kind, timing, HISTORY, *flat(fields)))

    def release(self, claim: Claim) -> bool:
        """Put a running job back to the front of the queue; returns whether it was still this worker's."""
        return bool(self._call("release", claim.job_id, claim.attempt))

    def heartbeat(self, worker: WorkerStatus, held: Sequence[Held], *, healthy: bool, idle: bool) -> set[str]:
        """Renew the leases of a worker and of its jobs, and store how far these are.

        Args:
            worker: the worker and the state of its engine.
            held: its jobs.
            healthy: whether its engine works.
            idle: whether it waits for a job.

        Returns:
            The ids of the jobs that are not this worker's any more, or not wanted.
        """
        models, status = _names(worker.engine.abilities), codec.worker_text(worker)
        jobs: list[str | int] = []
        for job in held:
            progress = "" if job.progress is None else codec.progress_text(job.progress)
            jobs += [job.claim.job_id, job.claim.attempt, progress, int(job.working_seconds * 1000)]
        flags = (int(healthy), int(idle))
        lost = self._call("heartbeat", worker.id, worker.version, *flags, models, status, self._lease, *jobs)
        return {job_id.decode() for job_id in lost}

    def remove_worker(self, worker: str) -> None:
        """Remove a worker that stops; it has released its jobs before."""
        with self._client.pipeline() as pipeline:
            pipeline.delete(f"sd:worker:{worker}")
            pipeline.zrem("sd:workers", worker)
            pipeline.zrem(f"sd:healthy:{__version__}", worker)
            pipeline.execute()


def _names(models: Iterable[str | None]) -> str:
    return json.dumps([model or "" for model in models])


def _subscribers(text: bytes | None) -> tuple[str, ...]:
    return tuple((text or b"").decode().split())
