"""A job that the engine works on: its rows, its pictures, its progress and its one end."""

import threading
import time
from collections.abc import Sequence

from sd_api.errors import JobCancelled, ServerError
from sd_api.generation.engine import Phase, Progress, Run
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.models.families.base import Row
from sd_api.models.library import LoadedModel
from sd_api.models.safety import SafetyFilter


class ActiveJob:
    """One run with the state of each of its pictures.

    The device's thread denoises and decodes; ``add``, ``warn`` and ``fail`` may be called from other threads as well.

    Attributes:
        run: Whose pictures they are.
        model: What makes them.
        safety: What filters them; None where nothing does.
        alone: Whether its rows go through the model one by one, because a shared forward has failed.
        previews: Whether previews are made; a preview that fails ends them.
        previewed: When its last preview was made, by the monotonic clock.
        begun: When it began, by the monotonic clock.
    """

    def __init__(self, run: Run, model: LoadedModel, safety: SafetyFilter | None) -> None:
        self.run = run
        self.model = model
        self.safety = safety
        self.alone = False
        self.previews = True
        self.previewed = 0.0
        self.begun = time.monotonic()
        self._lock = threading.RLock()
        self._going = True
        self._rows: dict[int, Row] = {}
        self._opened = 0
        self._decoded = 0
        self._steps = 0
        self._images: dict[int, GeneratedImage] = {}
        self._warnings = list(run.spec.warnings)

    @property
    def going(self) -> bool:
        """Whether its end is still to come."""
        return self._going

    @property
    def has_steps(self) -> bool:
        """Whether the device still has something to do for it."""
        return self._going and self._decoded < len(self.run.spec.seeds)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that are open, in the order of its pictures."""
        return list(self._rows.values())

    def next_picture(self) -> int | None:
        """The number of the next picture without a row, counted from 0; None where there is none."""
        return self._opened if self._opened < len(self.run.spec.seeds) else None

    def open(self, row: Row) -> None:
        """Take the row of the next picture."""
        self._rows[self._opened] = row
        self._opened += 1
        self._steps = row.steps

    def close(self, row: Row) -> int:
        """Let a row go that is decoded; the number of its picture."""
        number = next(number for number, other in self._rows.items() if other is row)
        del self._rows[number]
        self._decoded += 1
        return number

    def release(self) -> None:
        """Let all rows go; each refers to its job, so the memory of both would wait for the garbage collector."""
        self._rows.clear()

    def report_step(self) -> None:
        """Report the steps of all its rows."""
        steps = sum(row.step for row in self._rows.values())
        decoding = bool(self._rows) and all(row.done for row in self._rows.values())
        self._report_steps("decoding" if decoding else "denoising", steps, self._steps)

    def report_inner_step(self, step: int, steps: int) -> None:
        """Report a step of a row that makes all its steps at once.

        Raises:
            JobCancelled: The job is not wanted any more.
        """
        self._report_steps("denoising", step, steps)
        if not self._going:
            raise JobCancelled("This job is not wanted any more.")

    def _report_steps(self, phase: Phase, open_steps: int, steps: int) -> None:
        self.report(Progress(phase, self._decoded * steps + open_steps, len(self.run.spec.seeds) * steps))

    def report(self, progress: Progress) -> None:
        """Report to the run; a cancelled one has ended."""
        if not self._going:
            return
        try:
            self.run.report(progress)
        except JobCancelled:
            self._going = False

    def warn(self, warning: str) -> None:
        """Have the answer say what was done in a lesser way."""
        with self._lock:
            if warning not in self._warnings:
                self._warnings.append(warning)

    def add(self, number: int, image: GeneratedImage) -> bool:
        """Take the finished picture of a number; whether the job is finished with it."""
        with self._lock:
            self._images[number] = image
            if not self._going or len(self._images) < len(self.run.spec.seeds):
                return False
            self._going = False
            images = tuple(self._images[number] for number in range(len(self._images)))
            self.run.finish(GenerationResult(images, tuple(self._warnings)))
            return True

    def fail(self, error: ServerError) -> None:
        """End the job, if it has not ended."""
        with self._lock:
            if self._going:
                self._going = False
                self.run.fail(error)
