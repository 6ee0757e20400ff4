"""What is true of jobs and workers, in Redis; each change is one script there, so it happens whole or not at all."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis

from sd_api import __version__
from sd_api.accounts.tokens import is_owner
from sd_api.errors import JobCancelled, QueueFull, ServerError, UnknownJob
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.generation.spec import JobSpec
from sd_api.jobs.cluster import codec
from sd_api.jobs.cluster.overview import STATUS_FIELDS, Overview, read_status
from sd_api.jobs.job import ENDED, Job, JobStatus, State
from sd_api.jobs.pace import Pace
from sd_api.jobs.queue import taken, why_full
from sd_api.jobs.workers import WorkerStatus
from sd_api.settings import Cluster, Limits

# Seconds that a job is known after its end, with its pictures: time enough for another API process to fetch them for
# one that died; longer where somebody said that he will come for them.
KNOWN_SECONDS = 600

# Seconds without a word after which a server counts as gone: more than clients wait for a Redis that is away.
SERVER_SECONDS = 40

# Seconds that a job may be passed over for others whose model is loaded: a model is changed so often at most.
PATIENCE_SECONDS = 10.0

_SCRIPTS = ("submit", "claim", "report", "end", "cancel", "give_back", "beat", "bury", "list", "mark")


@dataclass(frozen=True)
class Submission:
    """What became of a request.

    Attributes:
        joined: whether the job was there already.
        worker: the idle worker that has its model; None where any will do.
    """

    joined: bool
    worker: str | None


@dataclass(frozen=True)
class Claim:
    """A job that a worker shall make.

    Attributes:
        job_id: which one.
        number: how often it has been begun; with a later number it is another worker's.
    """

    job_id: str
    number: int


class JobBoard:
    """All API processes and workers look at one.

    Every method raises ``redis.RedisError`` where Redis is away.

    Args:
        client: of that Redis.
        cluster: the settings that all of them share.
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

    def submit(self, job: Job, *, follower: str, rejoin: bool, limits: Limits) -> Submission:
        """Keep a new job; a second time changes nothing.

        Args:
            job: what to make.
            follower: who is told of what becomes of it.
            rejoin: whether a job with that id of that client is the same.
            limits: how many may wait.

        Raises:
            JobIdTaken: there is another with that id.
            QueueFull: too many wait.
        """
        spec = job.spec
        fields: codec.Fields = {
            **codec.spec_fields(spec),
            "mode": spec.operation.name,
            "work": spec.work,
            "pictures": len(spec.seeds),
            "batch": repr((__version__, spec.batch_key)),
            "kept": KNOWN_SECONDS * 1000,
        }
        if not is_owner(job.client):
            # A task is carried on by another server, so nobody's going ends its job.
            fields["awaited"] = follower
        about: list[str | int] = [job.id, job.client, uuid4().hex, follower, SERVER_SECONDS * 1000, int(rejoin)]
        about += [limits.max_queued_requests, limits.max_queued_requests_per_client, __version__, _name(spec)]
        answer = self._call("submit", *about, *_flat(fields))
        happened = answer[0].decode()
        if happened == "taken":
            raise taken(job.id)
        if happened == "full":
            total, own = answer[1], answer[2]
            raise QueueFull(why_full(total, own, limits))
        return Submission(happened == "joined", answer[1].decode() or None)

    def claim(self, worker: str, *, able: bool, models: Iterable[str | None], at_once: int) -> tuple[list[Claim], str]:
        """Choose what a worker shall make next.

        Args:
            worker: its id.
            able: whether its engine works.
            models: those that are loaded.
            at_once: how many pictures it makes at once.

        Returns:
            Its jobs, alike enough for one batch. Without any, the id of the worker that a job is kept for, or "".
        """
        patience = PATIENCE_SECONDS * 1000
        answer = self._call("claim", worker, __version__, int(able), _names(models), self._lease, at_once, patience)
        return [Claim(job_id.decode(), number) for job_id, number in answer[0]], answer[1].decode()

    def spec(self, claim: Claim, limits: Limits) -> tuple[JobSpec, str]:
        """What a job asks for, and for which client.

        Raises:
            RequestError: this machine's limits are narrower than those of the machine that sent it.
        """
        fields = self._fields(claim.job_id, *codec.SPEC_FIELDS, "client")
        return codec.read_spec(fields, limits), (fields["client"] or b"").decode()

    def report(self, claim: Claim, progress: Progress, *, works: bool, preview: bytes | None) -> tuple[bool, bool]:
        """Take note of a step.

        Returns:
            Whether the job is still wanted of this worker, and whether somebody looks at previews.
        """
        text = codec.progress_text(progress)
        wanted, looked = self._call("report", claim.job_id, claim.number, text, int(works), preview or b"")
        return bool(wanted), bool(looked)

    def end(self, claim: Claim, outcome: GenerationResult | ServerError, rate: float | None = None) -> bool:
        """Take note of how a job ended; the first end counts.

        Args:
            claim: the job.
            outcome: its pictures, or why there are none.
            rate: the seconds that it took for each unit of its work.

        Returns:
            Whether this was the first end.
        """
        if isinstance(outcome, GenerationResult):
            state, fields = "finished", codec.result_fields(outcome)
        else:
            state = "cancelled" if isinstance(outcome, JobCancelled) else "failed"
            fields = {"message": codec.error_text(outcome)}
        known = "" if rate is None else repr(rate)
        return bool(self._call("end", claim.job_id, claim.number, state, known, *_flat(fields)))

    def give_back(self, claim: Claim) -> bool:
        """Let a job that was begun wait again, in front; whether it was still this worker's."""
        return bool(self._call("give_back", claim.job_id, claim.number))

    def cancel(self, job_id: str, reason: str) -> None:
        """End a job; one that has ended stays as it was.

        Raises:
            UnknownJob: there is none.
        """
        if not self._call("cancel", job_id, codec.error_text(JobCancelled(reason))):
            raise _unknown(job_id)

    def beat(self, worker: WorkerStatus, claims: Sequence[Claim], *, able: bool, idle: bool) -> set[str]:
        """Tell that a worker lives, and renew the leases of its jobs.

        Returns:
            The ids of those that are not its own any more.
        """
        models, info = _names(worker.engine.abilities), codec.worker_text(worker)
        held = [part for claim in claims for part in (claim.job_id, claim.number)]
        lost = self._call("beat", worker.id, worker.version, int(able), int(idle), models, info, self._lease, *held)
        return {job_id.decode() for job_id in lost}

    def serve(self, server: str) -> None:
        """Tell that a server lives."""
        self._client.set(f"sd:server:{server}", "", ex=SERVER_SECONDS)

    def leave(self, worker: str) -> None:
        """Forget a worker that stops; what it held has been given back."""
        with self._client.pipeline() as pipeline:
            pipeline.delete(f"sd:worker:{worker}")
            pipeline.zrem("sd:workers", worker)
            pipeline.zrem(f"sd:able:{__version__}", worker)
            pipeline.execute()

    def bury(self) -> int:
        """Have the jobs of dead workers run again, or end where too many died of them; how many jobs wait."""
        waiting: int = self._call("bury", self._lease, self._tries)
        return waiting

    def look(self, job_id: str) -> None:
        """Have previews made for some seconds."""
        self._call("mark", job_id, "looked", "")

    def keep(self, job_id: str, seconds: float) -> None:
        """Know a job for so long after its end, and make it whether or not its server is still there."""
        self._call("mark", job_id, "kept", int(seconds * 1000))

    def result(self, job_id: str) -> GenerationResult | ServerError | None:
        """How a job ended; None where it has not.

        Raises:
            UnknownJob: there is none, or none any more.
        """
        told = self._fields(job_id, "state", "message", "pictures", "result")
        state = told["state"]
        if state is None:
            raise _unknown(job_id)
        if state.decode() not in ENDED:
            return None
        if told["message"] is not None:
            return codec.read_error(told["message"])
        count = int(told["pictures"] or 0)
        return codec.read_result(told | self._fields(job_id, *(f"picture:{number}" for number in range(count))))

    def status(self, job_id: str) -> JobStatus:
        """Tell about one job.

        Raises:
            UnknownJob: there is none, or none any more.
        """
        live = next((status for status in self.live() if status.id == job_id), None)
        if live is not None:
            return live
        fields = self._fields(job_id, *STATUS_FIELDS)
        if fields["state"] is None:
            raise _unknown(job_id)
        return read_status(job_id, fields)

    def states(self, job_ids: Sequence[str]) -> list[tuple[State | None, Progress | None]]:
        """Where jobs stand, those that are not there any more included."""
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hmget(f"sd:job:{job_id}", "state", "progress")
            found = pipeline.execute()
        return [(state and state.decode(), codec.read_progress(progress)) for state, progress in found]

    def live(self) -> list[JobStatus]:
        """Tell about all jobs that have not ended: what runs, and what waits, in the order of their turns."""
        running, waiting = ([job_id.decode() for job_id in ids] for ids in self._call("list"))
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in (*running, *waiting):
                pipeline.hmget(f"sd:job:{job_id}", STATUS_FIELDS)
            pipeline.time()
            pipeline.hgetall("sd:pace")
            pipeline.zcard("sd:workers")
            *found, (seconds, microseconds), rates, workers = pipeline.execute()
        fields = [dict(zip(STATUS_FIELDS, values, strict=True)) for values in found]
        pace = Pace({name.decode() or None: float(rate) for name, rate in rates.items()})
        overview = Overview(pace, now=seconds + microseconds / 1e6, workers=max(1, workers))
        statuses = overview.running(dict(zip(running, fields, strict=False)))
        statuses += overview.waiting(dict(zip(waiting, fields[len(running) :], strict=True)))
        # One may have ended between the two questions.
        return [status for status in statuses if status.state not in ENDED]

    def attended(self) -> bool:
        """Whether there is any worker; ``bury`` forgets the dead ones."""
        return bool(self._client.zcard("sd:workers"))

    def workers(self) -> list[WorkerStatus]:
        """Tell about all workers that live."""
        ids: list[Any] = self._client.zrange("sd:workers", 0, -1)
        found = self._client.mget([f"sd:worker:{worker.decode()}" for worker in ids]) if ids else []
        return sorted((codec.read_worker(text) for text in found if text), key=lambda worker: worker.started)

    def _call(self, name: str, *arguments: str | bytes | int | float) -> Any:
        return self._scripts[name](args=list(arguments))

    def _fields(self, job_id: str, *names: str) -> dict[str, bytes | None]:
        found: list[Any] = self._client.hmget(f"sd:job:{job_id}", names) if names else []
        return dict(zip(names, found, strict=True))


def _name(spec: JobSpec) -> str:
    # A url_path is never empty.
    return spec.model or ""


def _names(models: Iterable[str | None]) -> str:
    return json.dumps([model or "" for model in models])


def _flat(fields: codec.Fields) -> list[str | bytes | int | float]:
    return [part for pair in fields.items() for part in pair]


def _unknown(job_id: str) -> UnknownJob:
    minutes = KNOWN_SECONDS // 60
    return UnknownJob(f"There is no job {job_id[:100]!r}; those that have ended are known for {minutes} minutes.")
