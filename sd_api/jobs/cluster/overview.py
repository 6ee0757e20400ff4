"""The status of jobs from their hashes in Redis, with queue positions and estimated times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.job import Job, JobStatus
from sd_api.jobs.queue import Forecast
from sd_api.jobs.work_rates import JobKind, WorkRates
from sd_api.jobs.workers import WorkerStatus

STATUS_FIELDS = (
    *(
        "client",
        "program",
        "dialect",
        "mode",
        "model",
        "state",
        "created",
        "started",
        "ended",
        "progress",
        "message",
        "preview",
    ),
    *("work", "finishing", "working"),
)


def read_status(job_id: str, fields: codec.Read) -> JobStatus:
    """The status of one job, without its position and the seconds that are left.

    Args:
        job_id: the job's id.
        fields: the ``STATUS_FIELDS`` of its hash.
    """
    mode: Any = (fields["mode"] or b"").decode()
    state: Any = (fields["state"] or b"finished").decode()
    message, started, ended = fields["message"], fields["started"], fields["ended"]
    return JobStatus(
        id=job_id,
        client=(fields["client"] or b"").decode(),
        program=(fields["program"] or b"").decode(),
        dialect=(fields["dialect"] or b"").decode(),
        mode=mode,
        model=(fields["model"] or b"").decode() or None,
        state=state,
        created=_seconds(fields["created"]),
        started=None if started is None else _seconds(started),
        ended=None if ended is None else _seconds(ended),
        progress=codec.read_progress(fields["progress"]),
        message=None if message is None else codec.read_error(message).message,
        preview=fields["preview"],
    )


class Overview:
    """Estimates for all jobs that have not ended.

    Args:
        rates: what has been learned from finished jobs.
        now: Redis's time, in seconds since 1970.
        workers: those that there are.
        find: the job of an id, if this process hears of its steps; those in Redis may be a second old.
    """

    def __init__(
        self,
        rates: WorkRates,
        *,
        now: float,
        workers: Sequence[WorkerStatus],
        find: Callable[[str], Job | None],
    ) -> None:
        self._rates = rates
        self._find = find
        self._now = now
        self._workers = max(1, len(workers))
        self._device_of = {job_id: worker.engine.device for worker in workers for job_id in worker.jobs}
        devices = {worker.engine.device for worker in workers}
        # Where the queued jobs will run, if that is certain.
        self._device = devices.pop() if len(devices) == 1 else None
        # Seconds until all jobs seen so far are done; None once that is unknown.
        self._left: float | None = 0.0

    def running(self, jobs: Mapping[str, codec.Read]) -> list[JobStatus]:
        """The status of the running jobs, from their hashes by id; the first ones to start come first."""
        statuses = []
        for job_id, fields in jobs.items():
            status = read_status(job_id, fields)
            worked = self._now - _seconds(fields["working"]) if fields["working"] else 0.0
            job = self._find(job_id)
            if job is not None and job.progress is not None:
                status, worked = replace(status, progress=job.progress), job.working_seconds()
            left = self._rates.seconds_left(
                self._kind(status), _work(fields), status.progress, worked, _finishing(fields)
            )
            self._add(left)
            statuses.append(replace(status, seconds_left=left))
        return sorted(statuses, key=lambda status: status.started or 0)

    def queued(self, jobs: Mapping[str, codec.Read]) -> list[JobStatus]:
        """The status of the queued jobs, from their hashes by id in queue order; to be called after ``running``."""
        statuses = []
        for position, (job_id, fields) in enumerate(jobs.items(), start=1):
            status = read_status(job_id, fields)
            own = self._rates.seconds(self._kind(status), _work(fields), _finishing(fields))
            left = None if self._left is None or own is None else self._left + own
            self._add(own)
            statuses.append(replace(status, position=position, seconds_left=left))
        return statuses

    def forecast(self, spec: JobSpec, jobs: int, flops: Mapping[str | None, float]) -> Forecast:
        """The time that a job would take behind all jobs seen so far; to be called after ``queued``.

        Args:
            spec: the job.
            jobs: how many have been seen.
            flops: see ``JobQueue.forecast``.
        """
        kind = JobKind(spec.model, spec.operation.name, self._device)
        duration = self._rates.duration(kind, spec.work, spec.finishing, flops)
        return Forecast(duration, self._left if jobs >= self._workers else 0.0)

    def _kind(self, status: JobStatus) -> JobKind:
        return JobKind(status.model, status.mode, self._device_of.get(status.id, self._device))

    def _add(self, seconds: float | None) -> None:
        self._left = None if self._left is None or seconds is None else self._left + seconds / self._workers


def _work(fields: codec.Read) -> float:
    return float(fields["work"] or 1)


def _finishing(fields: codec.Read) -> float:
    return float(fields["finishing"] or 0)


def _seconds(milliseconds: bytes | None) -> float:
    return float(milliseconds or 0) / 1000
