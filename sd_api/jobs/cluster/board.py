"""The state of jobs and workers in Redis. Each change is one script there, so it is atomic."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis

from sd_api import __version__
from sd_api.errors import JobCancelled, QueueFull, ServerError, UnknownJob
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.overview import STATUS_FIELDS, Overview, read_status
from sd_api.jobs.dispatch import RunningJobs
from sd_api.jobs.job import ENDED, Job, JobStatus, State
from sd_api.jobs.queue import taken, why_full
from sd_api.jobs.work_rates import HISTORY, JobKind, Timing, WorkRates
from sd_api.jobs.workers import WorkerStatus
from sd_api.owners import job_name
from sd_api.settings import Cluster, Limits

# Time to live of a job after its end, in seconds, pictures included: another API process has the time to fetch them if
# the one that submitted the job has died. Jobs in the results cache live longer.
ENDED_JOB_TTL_SECONDS = 600

# The lease of a server, in seconds: longer than clients wait for a Redis that is away.
SERVER_LEASE_SECONDS = 40

# Seconds that a job may be passed over for jobs whose model is loaded; so a worker changes its model no more often.
PATIENCE_SECONDS = 10.0

_SCRIPTS = (
    *("submit", "claim", "join", "report", "end", "cancel", "release", "heartbeat", "expire_leases", "list"),
    *("ask_preview", "cache_result"),
)


@dataclass(frozen=True)
class Submission:
    """The answer to a submitted job.

    Attributes:
        joined: whether the job existed already.
        worker: the idle worker that the job is reserved for, because it has the model; None if any worker will do.
    """

    joined: bool
    worker: str | None


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds a lease of.

    Attributes:
        job_id: the job's id.
        attempt: how many times the job has been started; with a later attempt it is another worker's.
    """

    job_id: str
    attempt: int


class JobBoard:
    """The jobs and workers that all API processes and workers share.

    Every method raises ``redis.RedisError`` if Redis cannot be reached.

    Args:
        client: the connection to Redis.
        cluster: the settings that all processes share.
    """

    def __init__(self, client: redis.Redis, cluster: Cluster) -> None:
        self._client = client
        self._lease = cluster.worker_timeout * 1000
        self._tries = cluster.tries
        folder = files(__package__) / "scripts"
        common = (folder / "common.lua").read_text(encoding="utf-8")
        self._scripts = {
            name: client.register_script(common + (folder / f"{name}.lua").read_text(encoding="utf-8"))
            for name in _SCRIPTS
        }

    def submit(self, job: Job, *, server: str, rejoin: bool, limits: Limits) -> Submission:
        """Queue a new job; the call is idempotent.

        Args:
            job: the job.
            server: the id of the server that subscribes to the job's updates.
            rejoin: whether an existing job of the same client with the same id is this one.
            limits: how many jobs may be queued.

        Raises:
            JobIdTaken: another job has that id.
            QueueFull: as many jobs are queued as the limits allow.
        """
        spec = job.spec
        fields: codec.Fields = {
            **codec.spec_fields(spec),
            "mode": spec.operation.name,
            "lasting": int(job.lasting),
            "work": spec.work,
            "pictures": len(spec.seeds),
            "batch": _batch(spec),
            "ttl": ENDED_JOB_TTL_SECONDS * 1000,
        }
        if not job.lasting:
            fields["waiting_server"] = server
        arguments: list[str | int] = [job.id, job.client, job.program, uuid4().hex]
        arguments += [server, SERVER_LEASE_SECONDS * 1000, int(rejoin)]
        arguments += [limits.max_queued_requests, limits.max_queued_requests_per_client, __version__, _name(spec)]
        answer = self._call("submit", *arguments, *_flat(fields))
        outcome = answer[0].decode()
        if outcome == "taken":
            raise taken(job.id)
        if outcome == "full":
            total, own = answer[1], answer[2]
            raise QueueFull(why_full(total, own, limits))
        return Submission(outcome == "joined", answer[1].decode() or None)

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
        batch = _batch(running.front()[0].spec)
        room, longest = running.room, repr(running.longest_overtaker())
        answer = self._call("join", worker, __version__, _names(models), self._lease, batch, room, longest)
        return [(Claim(job_id.decode(), attempt), bool(overtakes)) for job_id, attempt, overtakes in answer]

    def request(self, claim: Claim, limits: Limits) -> tuple[JobSpec, str]:
        """What a job asks for, and its client.

        Raises:
            RequestError: this machine's limits are narrower than those of the machine that sent it.
        """
        fields = self._fields(claim.job_id, *codec.SPEC_FIELDS, "client")
        return codec.read_spec(fields, limits), (fields["client"] or b"").decode()

    def report(self, claim: Claim, progress: Progress, *, works: bool, preview: bytes | None) -> tuple[bool, bool]:
        """Record a step of a job.

        Args:
            claim: the job.
            progress: the step.
            works: whether the engine works on the job, rather than loads its model.
            preview: a new preview as PNG; None if there is none since the last call.

        Returns:
            Whether the job is still this worker's and wanted, and whether a client asks for previews.
        """
        text = codec.progress_text(progress)
        wanted, preview_wanted = self._call("report", claim.job_id, claim.attempt, text, int(works), preview or b"")
        return bool(wanted), bool(preview_wanted)

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
        return bool(self._call("end", claim.job_id, claim.attempt, state, kind, timing, HISTORY, *_flat(fields)))

    def release(self, claim: Claim) -> bool:
        """Put a running job back to the front of the queue; returns whether it was still this worker's."""
        return bool(self._call("release", claim.job_id, claim.attempt))

    def cancel(self, job_id: str, reason: str) -> None:
        """Cancel a job; a job that has ended does not change.

        Raises:
            UnknownJob: there is no such job.
        """
        if not self._call("cancel", job_id, codec.error_text(JobCancelled(reason))):
            raise _unknown(job_id)

    def heartbeat(self, worker: WorkerStatus, claims: Sequence[Claim], *, healthy: bool, idle: bool) -> set[str]:
        """Renew the leases of a worker and of its jobs.

        Args:
            worker: the worker and the state of its engine.
            claims: its jobs.
            healthy: whether its engine works.
            idle: whether it waits for a job.

        Returns:
            The ids of the jobs that are not this worker's any more.
        """
        models, status = _names(worker.engine.abilities), codec.worker_text(worker)
        held = [part for claim in claims for part in (claim.job_id, claim.attempt)]
        flags = (int(healthy), int(idle))
        lost = self._call("heartbeat", worker.id, worker.version, *flags, models, status, self._lease, *held)
        return {job_id.decode() for job_id in lost}

    def server_heartbeat(self, server: str) -> None:
        """Renew the lease of a server."""
        self._client.set(f"sd:server:{server}", "", ex=SERVER_LEASE_SECONDS)

    def remove_worker(self, worker: str) -> None:
        """Remove a worker that stops; it has released its jobs before."""
        with self._client.pipeline() as pipeline:
            pipeline.delete(f"sd:worker:{worker}")
            pipeline.zrem("sd:workers", worker)
            pipeline.zrem(f"sd:healthy:{__version__}", worker)
            pipeline.execute()

    def expire_leases(self) -> int:
        """Requeue the jobs whose leases have expired, or fail those that have been tried too often.

        Returns:
            The number of queued jobs.
        """
        queued: int = self._call("expire_leases", self._lease, self._tries)
        return queued

    def ask_preview(self, job_id: str) -> None:
        """Have previews of a job made for the next seconds."""
        self._call("ask_preview", job_id)

    def cache_result(self, job_id: str, seconds: float) -> None:
        """Keep a job for so long after its end, and have it made even if its server dies."""
        self._call("cache_result", job_id, int(seconds * 1000))

    def result(self, job_id: str) -> GenerationResult | ServerError | None:
        """The outcome of a job; None if it has not ended.

        Raises:
            UnknownJob: there is no such job, or it has expired.
        """
        fields = self._fields(job_id, "state", "message", "pictures", "result")
        state = fields["state"]
        if state is None:
            raise _unknown(job_id)
        if state.decode() not in ENDED:
            return None
        if fields["message"] is not None:
            return codec.read_error(fields["message"])
        count = int(fields["pictures"] or 0)
        return codec.read_result(fields | self._fields(job_id, *(f"picture:{number}" for number in range(count))))

    def status(self, job_id: str) -> JobStatus:
        """The status of one job.

        Raises:
            UnknownJob: there is no such job, or it has expired.
        """
        unfinished = next((status for status in self.unfinished() if status.id == job_id), None)
        if unfinished is not None:
            return unfinished
        fields = self._fields(job_id, *STATUS_FIELDS)
        if fields["state"] is None:
            raise _unknown(job_id)
        return read_status(job_id, fields)

    def states(self, job_ids: Sequence[str]) -> list[tuple[State | None, Progress | None]]:
        """The states and the progress of jobs; None for a job that does not exist."""
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hmget(f"sd:jobs:{job_id}", "state", "progress")
            found = pipeline.execute()
        return [(state and state.decode(), codec.read_progress(progress)) for state, progress in found]

    def unfinished(self) -> list[JobStatus]:
        """The status of all jobs that have not ended: the running ones, then the queued ones in fair-queue order."""
        running, queued = ([job_id.decode() for job_id in ids] for ids in self._call("list"))
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in (*running, *queued):
                pipeline.hmget(f"sd:jobs:{job_id}", STATUS_FIELDS)
            pipeline.time()
            pipeline.hgetall("sd:timings")
            *found, (seconds, microseconds), timings = pipeline.execute()
        fields = [dict(zip(STATUS_FIELDS, values, strict=True)) for values in found]
        rates = WorkRates(codec.read_timings(timings))
        overview = Overview(rates, now=seconds + microseconds / 1e6, workers=self.workers())
        statuses = overview.running(dict(zip(running, fields, strict=False)))
        statuses += overview.queued(dict(zip(queued, fields[len(running) :], strict=True)))
        # A job may have ended between the two calls.
        return [status for status in statuses if status.state not in ENDED]

    def has_workers(self) -> bool:
        """Whether there is any worker; ``expire_leases`` removes the dead ones."""
        return bool(self._client.zcard("sd:workers"))

    def workers(self) -> list[WorkerStatus]:
        """The status of all workers whose lease has not expired, the oldest first."""
        ids: list[Any] = self._client.zrange("sd:workers", 0, -1)
        found = self._client.mget([f"sd:worker:{worker.decode()}" for worker in ids]) if ids else []
        return sorted((codec.read_worker(text) for text in found if text), key=lambda worker: worker.started)

    def _call(self, name: str, *arguments: str | bytes | int | float) -> Any:
        return self._scripts[name](args=list(arguments))

    def _fields(self, job_id: str, *names: str) -> dict[str, bytes | None]:
        found: list[Any] = self._client.hmget(f"sd:jobs:{job_id}", names) if names else []
        return dict(zip(names, found, strict=True))


def _batch(spec: JobSpec) -> str:
    return repr((__version__, spec.batch_key))


def _name(spec: JobSpec) -> str:
    # A url_path is never empty.
    return spec.model or ""


def _names(models: Iterable[str | None]) -> str:
    return json.dumps([model or "" for model in models])


def _flat(fields: codec.Fields) -> list[str | bytes | int | float]:
    return [part for pair in fields.items() for part in pair]


def _unknown(job_id: str) -> UnknownJob:
    minutes = ENDED_JOB_TTL_SECONDS // 60
    return UnknownJob(
        f"There is no job {job_name(job_id)[:100]!r}; those that have ended are known for {minutes} minutes."
    )
