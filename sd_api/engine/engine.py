"""The engine: jobs in, finished pictures out, one step at a time. Knows nothing of HTTP or of queues."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sd_api.engine import previews
from sd_api.engine.active import ActiveJob
from sd_api.engine.decoding import Decoder
from sd_api.engine.diffusion import forwards, step
from sd_api.engine.finishing import Finisher
from sd_api.engine.loading import Loading
from sd_api.engine.memory import fail, with_room
from sd_api.engine.passes import Drawn, operation_of
from sd_api.errors import JobCancelled, OutOfMemory, ServerError, generation_failure
from sd_api.generation.abilities import refuse_other_mode
from sd_api.generation.engine import Duration, EngineStatus, Feed, Run
from sd_api.generation.operation import Operation
from sd_api.generation.operations import FromImage
from sd_api.generation.spec import JobSpec
from sd_api.models.device import DeviceChoice
from sd_api.models.download_progress import watched_downloads
from sd_api.models.families.base import Row
from sd_api.models.library import ModelLibrary
from sd_api.models.memory import free_memory, memory_of, out_of_memory_as_ours
from sd_api.models.schedulers import scheduler_name

log = logging.getLogger(__name__)

# Beyond this a GPU gains nothing, and a cancelled picture is computed for longer in vain.
MAX_AT_ONCE = 16

# Seconds from which on a job that is drawn at once has a line before it begins; others always have one.
LONG = 5.0


class DiffusersEngine:
    """Runs diffusers models on one device; see the Engine protocol.

    Args:
        library: Where the models come from.
        device: Where they run.
        model: The main model's label.
    """

    def __init__(self, library: ModelLibrary, device: DeviceChoice, model: str) -> None:
        self._library = library
        self._device = device
        self._loading = Loading(library, EngineStatus("loading", model, str(device.device), device.dtype))
        self._finisher = Finisher()
        self._decoder = Decoder(library, device.device, self._finisher)

    def load(self) -> None:
        """See Engine."""
        self._library.plan_ahead()
        try:
            self._loading.load_main()
        except ServerError as error:
            log.error("The model is not available: %s", error.message)
        except Exception:
            log.exception("The model could not be loaded")
        else:
            log.info("Ready")

    def status(self) -> EngineStatus:
        """See Engine."""
        return replace(
            self._loading.status,
            models=self._library.memory(),
            planned=self._library.planned(),
            memory=memory_of(self._device.device),
            abilities=self._library.abilities(),
            flops=self._library.flops(),
        )

    def at_once(self) -> int:
        """See Engine."""
        # A batch gains nothing on a CPU and costs memory; on MPS diffusers' guide advises against it.
        return MAX_AT_ONCE if self._device.device.type == "cuda" else 1

    def serve(self, feed: Feed) -> None:
        """See Engine."""
        # The job that came last is in front: the feed lets only those overtake that are short, or that fit.
        active: list[ActiveJob] = []
        limit = self.at_once()
        while True:
            runs = feed.poll(_room(active, limit), active=bool(active))
            if not runs and not active:
                # Nothing is left for the device, so nothing is lost by waiting for the last pictures.
                self._finisher.drain()
                if not (runs := feed.wait(self.at_once())):
                    return
            # The first of them was chosen first; the others join it.
            active += reversed(self._begin_all(runs))
            if active:
                limit = self._turn(self._next(active), limit)
            active = _going_on(active)
            if not active:
                # What was too much for those jobs need not be for the next ones.
                limit = self.at_once()
                self._library.run_as_planned()

    def _begin_all(self, runs: Sequence[Run]) -> list[ActiveJob]:
        # Not where it is called: that frame lasts, and would keep the last job in memory.
        begun = [self._begin(run) for run in runs]
        return [job for job in begun if job is not None]

    def _begin(self, run: Run) -> ActiveJob | None:
        """Get a job's model; None for a job that cannot begin, which has ended, and for one that has no steps."""
        try:
            model = self._loading.load_for(run)
            operation = run.spec.for_model(model.abilities).operation
            refuse_other_mode(model.abilities, model.label, operation.name)
            if not operation.steps_run:
                self._give_back(ActiveJob(run, model, None), operation)
                return None
            job = ActiveJob(run, model, self._library.safety_filter(model, operation.safety_filter))
            first = operation.for_seed(run.spec.seeds[0])
            for warning in (*model.family.warnings(model.parts, first), *job.spec.plan.warnings()):
                job.warn(warning)
            if not job.spec.plan.whole or (run.duration is not None and run.duration.expected >= LONG):
                log.info("%s with %s: %s", operation.name, model.label, _beforehand(job.spec, run.duration))
        except JobCancelled:
            return None
        except Exception as error:
            run.fail(generation_failure(log, error, run.spec.operation.name))
            return None
        return job

    def _give_back(self, job: ActiveJob, operation: Operation) -> None:
        """Finish a job that has no steps: its pictures are the image that was sent, so there is nothing to filter."""
        assert isinstance(operation, FromImage)  # noqa: S101 - only what begins with an image may have no steps
        scheduler = operation.scheduler or scheduler_name(job.model.parts.pipeline.scheduler)
        for number in range(len(job.spec.seeds)):
            self._finisher.finish(job, Drawn(number, [], nsfw=False), scheduler=scheduler)

    def _next(self, active: Sequence[ActiveJob]) -> list[ActiveJob]:
        """The jobs that may share the next forward: the one whose turn it is first."""
        # What stops early has a step left, whichever has overtaken it.
        lead = next((job for job in active if job.run.stops_early), active[-1])
        if lead.alone:
            return [lead]
        others = [
            job
            for job in active
            if job is not lead
            and not job.alone
            and job.model is lead.model
            and job.spec.batch_key == lead.spec.batch_key
        ]
        return [lead, *others]

    def _turn(self, jobs: Sequence[ActiveJob], at_once: int) -> int:
        """One step of the rows that share a forward; what goes wrong ends their jobs, or makes fewer rows.

        Returns:
            How many rows to step at once from now on.
        """
        parts, family = jobs[0].parts, jobs[0].model.family
        for job in jobs:
            if job.run.stops_early:
                job.stop_early()
        together = 1 if jobs[0].alone else min(at_once, family.max_rows)
        rows = self._rows(jobs, together)
        if not rows:
            return at_once
        due = previews.due(dict.fromkeys(rows.values()))

        def look(row: Row, prediction: Any) -> None:
            if row in due:
                previews.show(due[row], row, prediction)
            if rows[row].stopped:
                family.conclude(row, prediction)

        try:
            with out_of_memory_as_ours():
                failures = step(family, parts, list(rows), look, at_once=together, between=lambda: _look_alive(rows))
        except JobCancelled:
            for row, job in rows.items():
                if job.going:
                    # It makes all its steps at once, so there is nothing of it before the last one.
                    job.leave_out(row)
            return at_once
        except OutOfMemory:
            return self._with_fewer(rows, at_once, min(together, forwards(list(rows))))
        except Exception as error:
            self._fail_or_separate(rows, error)
            return at_once
        for row, failure in failures.items():
            fail(rows[row], failure)
        for job in dict.fromkeys(rows.values()):
            job.report_step()
        self._decoder.end_rows({row: job for row, job in rows.items() if row.done and job.going})
        return at_once

    def _rows(self, jobs: Sequence[ActiveJob], at_once: int) -> dict[Row, ActiveJob]:
        """The rows for one forward; those of further pictures are opened while there is room."""
        rows: dict[Row, ActiveJob] = {}
        for job in jobs:
            while job.going and len(job.rows) + len(rows) < at_once and job.next_unit() is not None:
                self._open(job)
            for row in job.rows[: at_once - len(rows)]:
                if job.going and (not rows or row.key == next(iter(rows)).key):
                    rows[row] = job
        # The first job was chosen first; in a forward, rows stand in the order in which their jobs began.
        return dict(sorted(rows.items(), key=lambda entry: entry[1].begun))

    def _open(self, job: ActiveJob) -> None:
        """Open the row of a job's next pass."""
        unit, spec, family, parts = job.next_unit(), job.spec, job.model.family, job.parts
        assert unit is not None  # noqa: S101 - the caller has looked
        seeds = spec.pictures[unit.picture]
        one = spec.plan.regions[unit.region].passes[unit.step]

        def start() -> Row:
            operation = operation_of(spec.operation, spec.plan, unit, seeds.seed)
            with watched_downloads(job.report_download):
                conditioning = family.encode(parts, operation, job.look_alive)
            return family.start(parts, operation, seeds, one.size, conditioning, one.tiles)

        try:
            row = with_room(self._library, start)
        except Exception as error:
            fail(job, error)
            return
        row.on_step = job.report_inner_step
        job.open(row)
        job.report_step()

    def _with_fewer(self, rows: dict[Row, ActiveJob], at_once: int, together: int) -> int:
        """After running out of memory: make room, else step fewer rows at once, else stream layers, else give up.

        Args:
            rows: Those of the step.
            at_once: How many rows were allowed.
            together: How many rows, or tiles of them, went through the model in one forward.
        """
        free_memory()
        log.warning("Out of memory with %d at once", together)
        jobs = list(dict.fromkeys(rows.values()))
        if self._library.make_room():
            return at_once
        if together == 1:
            if self._library.slow_down():
                return 1
            fail(jobs[0], OutOfMemory("The step does not fit."))
            return 1
        for job in jobs:
            job.warn(f"Memory ran out with {together} pictures at once, so fewer were made at a time.")
        return together // 2

    def _fail_or_separate(self, rows: dict[Row, ActiveJob], error: Exception) -> None:
        jobs = set(rows.values())
        if len(rows) == 1:
            fail(jobs.pop(), error)
            return
        # One of them may be the reason; alone, each ends as it deserves.
        log.warning("A forward of %d rows failed (%s); making them one by one", len(rows), error)
        for job in jobs:
            job.alone = True


def _beforehand(spec: JobSpec, duration: Duration | None) -> str:
    """What a job will take, in few words: regions and tiles, its time with the range, its images and one picture."""
    megabytes = round(spec.memory_with_picture / 1e6)
    images = f"{megabytes} MB of images" if megabytes else ""
    time = "" if duration is None else "about {:.1f} s ({:.1f} to {:.1f})".format(*duration[:3])
    return ", ".join(filter(None, (spec.plan.summary(), time, images)))


def _look_alive(rows: dict[Row, ActiveJob]) -> None:
    """End a step of many forwards where no job wants it any more."""
    jobs = set(rows.values())
    for job in jobs:
        job.report_step()
    if not any(job.going for job in jobs):
        raise JobCancelled("These jobs are not wanted any more.")


def _room(active: Sequence[ActiveJob], at_once: int) -> int:
    """How many rows go through the model at once: a job that joined in vain would take the turn of those before it."""
    if any(job.alone for job in active):
        return 1
    return min([at_once, *(job.model.family.max_rows for job in active)])


def _going_on(jobs: Sequence[ActiveJob]) -> list[ActiveJob]:
    """The jobs for which the device has something to do; the others let their rows go."""
    for job in jobs:
        if not job.has_steps:
            job.release()
    return [job for job in jobs if job.has_steps]
