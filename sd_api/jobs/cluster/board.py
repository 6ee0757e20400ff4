"""The jobs and workers in Redis as an API process sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis
from redis.client import Pipeline

from sd_api import __version__
from sd_api.errors import JobCancelled, QueueFull, ServerError, UnknownJob
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.overview import STATUS_FIELDS, Overview, read_status
from sd_api.jobs.cluster.scripted import Board, batch_of, flat
from sd_api.jobs.job import ENDED, Job, JobStatus, State
from sd_api.jobs.queue import Forecast, not_together, not_waiting, taken, why_full
from sd_api.jobs.work_rates import WorkRates
from sd_api.jobs.workers import WorkerStatus
from sd_api.owners import job_name
from sd_api.settings import Cluster, Limits

# Time to live of a job after its end, in seconds, pictures included: another API process has the time to fetch them if
# the one that submitted the job has died. Jobs in the results cache live longer.
ENDED_JOB_TTL_SECONDS = 600

# The lease of a server, in seconds: longer than clients wait for a Redis that is away.
SERVER_LEASE_SECONDS = 40


@dataclass(frozen=True)
class Submission:
    """The answer to a submitted job.

    Attributes:
        joined: whether the job existed already.
        worker: the idle worker that the job is reserved for, because it has the model; None if any worker will do.
    """

    joined: bool
    worker: str | None


class JobBoard(Board):
    """Submits jobs, and reads the state of all jobs and workers.

    Args:
        client: the connection to Redis.
        cluster: the settings that all processes share.
        find: the job of an id, if this process hears of its steps.
    """

    def __init__(
        self, client: redis.Redis, cluster: Cluster, find: Callable[[str], Job | None] = lambda _: None
    ) -> None:
        super().__init__(client, cluster)
        self._find = find

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
            "dialect": job.dialect,
            "lasting": int(job.lasting),
            "work": spec.work,
            "finishing": spec.finishing,
            "pictures": len(spec.seeds),
            "rows": spec.rows,
            "batch": batch_of(spec),
            "ttl": ENDED_JOB_TTL_SECONDS * 1000,
        }
        if not job.lasting:
            fields["waiting_server"] = server
        arguments: list[str | int] = [job.id, job.client, job.program, uuid4().hex]
        arguments += [server, SERVER_LEASE_SECONDS * 1000, int(rejoin)]
        # A url_path is never empty.
        arguments += [limits.max_queued_requests, limits.max_queued_requests_per_client, __version__, spec.model or ""]
        answer = self._call("submit", *arguments, *flat(fields))
        outcome = answer[0].decode()
        if outcome == "taken":
            raise taken(job.id)
        if outcome == "full":
            total, own = answer[1], answer[2]
            raise QueueFull(why_full(total, own, limits))
        return Submission(outcome == "joined", answer[1].decode() or None)

    def cancel(self, job_id: str, reason: str) -> None:
        """Cancel a job; a job that has ended does not change.

        Raises:
            UnknownJob: there is no such job.
        """
        if not self._call("cancel", job_id, codec.error_text(JobCancelled(reason))):
            raise _unknown(job_id)

    def stop_early(self, job_id: str) -> None:
        """Have a running job end at its next step, with its pictures as they are."""
        self._call("stop_early", job_id)

    def move(self, job_id: str, *, before: str | None, after: str | None) -> None:
        """Move a queued job; see JobQueue."""
        beside = before or after or ""
        outcome, *which = (part.decode() for part in self._call("move", job_id, beside, int(before is None)))
        if outcome == "unknown":
            raise _unknown(which[0])
        if outcome == "begun":
            raise not_waiting(which[0])
        if outcome == "apart":
            raise not_together(job_id, beside)

    def server_heartbeat(self, server: str) -> None:
        """Renew the lease of a server."""
        self._client.set(f"sd:server:{server}", "", ex=SERVER_LEASE_SECONDS)

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

    def preview(self, job_id: str) -> bytes | None:
        """The last preview of a running job; None if it has none."""
        return self._fields(job_id, "preview")["preview"]

    def status(self, job_id: str) -> JobStatus:
        """The status of one job; only that of a queued job needs those of the jobs before it.

        Raises:
            UnknownJob: there is no such job, or it has expired.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hmget(f"sd:jobs:{job_id}", STATUS_FIELDS)
            _ask_overview(pipeline)
            values, *known = pipeline.execute()
        fields = dict(zip(STATUS_FIELDS, values, strict=True))
        if fields["state"] is None:
            raise _unknown(job_id)
        if fields["state"] == b"running":
            return self._overview(*known).running({job_id: fields})[0]
        if fields["state"] == b"queued":
            queued = (status for status in self.unfinished() if status.id == job_id)
            return next(queued, read_status(job_id, fields))
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
        _, statuses = self._overview_of_all()
        return statuses

    def forecast(self, spec: JobSpec, flops: Mapping[str | None, float]) -> Forecast:
        """See JobQueue."""
        overview, statuses = self._overview_of_all()
        return overview.forecast(spec, len(statuses), flops)

    def _overview_of_all(self) -> tuple[Overview, list[JobStatus]]:
        running, queued = ([job_id.decode() for job_id in ids] for ids in self._call("list"))
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in (*running, *queued):
                pipeline.hmget(f"sd:jobs:{job_id}", STATUS_FIELDS)
            _ask_overview(pipeline)
            *found, clock, timings = pipeline.execute()
        fields = [dict(zip(STATUS_FIELDS, values, strict=True)) for values in found]
        overview = self._overview(clock, timings)
        statuses = overview.running(dict(zip(running, fields, strict=False)))
        statuses += overview.queued(dict(zip(queued, fields[len(running) :], strict=True)))
        # A job may have ended between the two calls.
        return overview, [status for status in statuses if status.state not in ENDED]

    def _overview(self, clock: tuple[int, int], timings: Mapping[bytes, bytes]) -> Overview:
        """From the answers to ``_ask_overview``."""
        seconds, microseconds = clock
        rates = WorkRates(codec.read_timings(timings))
        return Overview(rates, now=seconds + microseconds / 1e6, workers=self.workers(), find=self._find)

    def has_workers(self) -> bool:
        """Whether there is any worker; ``expire_leases`` removes the dead ones."""
        return bool(self._client.zcard("sd:workers"))

    def workers(self) -> list[WorkerStatus]:
        """The status of all workers whose lease has not expired, the oldest first."""
        ids: list[Any] = self._client.zrange("sd:workers", 0, -1)
        found = self._client.mget([f"sd:worker:{worker.decode()}" for worker in ids]) if ids else []
        return sorted((codec.read_worker(text) for text in found if text), key=lambda worker: worker.started)


def _ask_overview(pipeline: Pipeline) -> None:
    pipeline.time()
    pipeline.hgetall("sd:timings")


def _unknown(job_id: str) -> UnknownJob:
    minutes = ENDED_JOB_TTL_SECONDS // 60
    return UnknownJob(
        f"There is no job {job_name(job_id)[:100]!r}; those that have ended are known for {minutes} minutes."
    )
