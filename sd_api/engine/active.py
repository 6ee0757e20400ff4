"""A job that the engine works on: its rows, its pictures, its progress and its one end."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from sd_api.engine.passes import Drawn, Unit, drawn, relative
from sd_api.errors import JobCancelled, ServerError
from sd_api.generation.engine import Phase, Progress, Run
from sd_api.generation.plan import Pass
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.models.families.base import Row
from sd_api.models.library import LoadedModel
from sd_api.models.safety import SafetyFilter


class ActiveJob:
    """One run with the state of each of its pictures.

    The device's thread denoises and decodes; ``add``, ``warn`` and ``fail`` may be called from other threads as well.

    Attributes:
        run: Whose pictures they are.
        spec: What it asks for, planned for the model.
        model: What makes them.
        parts: The model's components, with the autoencoder that is asked for.
        safety: What filters them; None where nothing does.
        alone: Whether its rows go through the model one by one, because a shared forward has failed.
        previews: Whether previews are made; a preview that fails ends them.
        previewed: When its last preview was made, by the monotonic clock.
        begun: When it began, by the monotonic clock.
    """

    def __init__(self, run: Run, model: LoadedModel, safety: SafetyFilter | None) -> None:
        self.run = run
        self.spec = run.spec.for_model(model.abilities)
        self.model = model
        self.parts = model.parts
        if "vae" in model.abilities.capabilities:
            self.parts = model.parts.with_vae(self.spec.operation.vae)
        self.safety = safety
        self.alone = False
        self.previews = True
        self.previewed = 0.0
        self.begun = time.monotonic()
        self._lock = threading.RLock()
        self._going = True
        self._stopped = False
        # The pictures that the result will have.
        self._expected = len(self.spec.seeds)
        self._rows: dict[Row, Unit] = {}
        self._units = deque(
            Unit(picture=picture, region=region)
            for picture in range(len(self.spec.seeds))
            for region in range(len(self.spec.plan.regions))
        )
        self._flagged: set[int] = set()
        self._drawn: dict[int, dict[int, Image.Image]] = {}
        # The steps of a row by the strength of its pass, and those of the rows that are gone.
        self._steps: dict[float | None, int] = {}
        self._steps_done = 0
        self._images: dict[int, GeneratedImage] = {}
        self._warnings = list(run.spec.warnings)

    @property
    def going(self) -> bool:
        """Whether its end is still to come."""
        return self._going

    @property
    def names_files(self) -> bool:
        """Whether its model reads the names of files in a request: LoRAs, embeddings, autoencoders."""
        return not {"loras", "vae"}.isdisjoint(self.model.abilities.capabilities)

    @property
    def stopped(self) -> bool:
        """Whether its rows are concluded rather than stepped on."""
        return self._stopped

    @property
    def has_steps(self) -> bool:
        """Whether the device still has something to do for it."""
        return self._going and bool(self._units or self._rows)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that are open, in the order of its pictures."""
        return list(self._rows)

    def next_unit(self) -> Unit | None:
        """The next pass without a row; None where there is none."""
        return self._units[0] if self._units else None

    def open(self, row: Row) -> None:
        """Take the row of the next pass."""
        unit = self._units.popleft()
        self._rows[row] = unit
        self._steps[self._pass(unit).strength] = row.steps

    def close(self, row: Row, image: Image.Image) -> Drawn | None:
        """Let a row go that is decoded, with what came out of the model; its picture, once all of it is drawn."""
        last = self.is_last_pass(row)
        unit = self._rows.pop(row)
        self._steps_done += row.steps
        passes = self.spec.plan.regions[unit.region].passes
        if not last:
            self._units.appendleft(replace(unit, step=unit.step + 1, drawn=image))
            return None
        image = drawn(image, self._pass(unit))
        if passes[unit.step].box != passes[-1].box:
            # It was stopped before the passes that see less.
            image = image.crop(relative(passes[-1].box, passes[unit.step].box))
        parts = self._drawn.setdefault(unit.picture, {})
        parts[unit.region] = image
        if len(parts) < len(self.spec.plan.regions):
            return None
        del self._drawn[unit.picture]
        return Drawn(unit.picture, [parts[number] for number in sorted(parts)], unit.picture in self._flagged)

    def is_last_pass(self, row: Row) -> bool:
        """Whether what a row draws is shown."""
        unit = self._rows[row]
        return self._stopped or unit.step + 1 == len(self.spec.plan.regions[unit.region].passes)

    def pass_of(self, row: Row) -> Pass:
        """The pass that a row makes."""
        return self._pass(self._rows[row])

    def flag(self, row: Row) -> None:
        """Note that the safety filter has flagged what a row draws."""
        self._flagged.add(self._rows[row].picture)

    def _pass(self, unit: Unit) -> Pass:
        return self.spec.plan.regions[unit.region].passes[unit.step]

    def release(self) -> None:
        """Let all rows go; each refers to its job, so the memory of both would wait for the garbage collector."""
        self._rows.clear()
        self._units.clear()
        self._drawn.clear()

    def stop_early(self) -> None:
        """Conclude what is begun, and leave out the pictures of which nothing is."""
        if self._stopped:
            return
        self._stopped = True
        self.warn("This was stopped early: pictures are as far as they were, and those that had not begun are missing.")
        begun = {unit.picture for unit in self._rows.values()} | self._drawn.keys()
        begun |= {unit.picture for unit in self._units if unit.drawn is not None}
        left_out = {unit.picture for unit in self._units} - begun
        self._units = deque(unit for unit in self._units if unit.picture in begun)
        self._leave_out(len(left_out))

    def leave_out(self, row: Row) -> None:
        """Let a row go that cannot be concluded, and its picture with it."""
        picture = self._rows.pop(row).picture
        self._units = deque(unit for unit in self._units if unit.picture != picture)
        self._drawn.pop(picture, None)
        self._leave_out(1)

    def report_step(self) -> None:
        """Report the steps of all its rows."""
        steps = sum(row.step for row in self._rows)
        decoding = bool(self._rows) and all(row.done for row in self._rows)
        self._report_steps("decoding" if decoding else "denoising", steps)

    def report_inner_step(self, step: int, steps: int) -> None:
        """Report a step of a row that makes all its steps at once.

        Raises:
            JobCancelled: The job is not wanted any more.
        """
        self._steps[None] = steps
        self._report_steps("denoising", step)
        if not self._going or (self.run.stops_early and step < steps):
            raise JobCancelled("This job is not wanted any more.")

    def look_alive(self) -> None:
        """Report its steps between two of them, which says whether it is still wanted.

        Raises:
            JobCancelled: The job is not wanted any more.
        """
        self.report_step()
        self._end_unwanted()

    def report_download(self, arrived: int, total: int) -> None:
        """Report how many bytes have arrived of what it names.

        Raises:
            JobCancelled: The job is not wanted any more.
        """
        self.report(Progress("downloading", bytes=arrived, total_bytes=total))
        self._end_unwanted()

    def _end_unwanted(self) -> None:
        if not self._going:
            raise JobCancelled("This job is not wanted any more.")

    def _report_steps(self, phase: Phase, open_steps: int) -> None:
        passes = [each for region in self.spec.plan.regions for each in region.passes]
        steps = sum(self._expected_steps(each) for each in passes)
        self.report(Progress(phase, self._steps_done + open_steps, len(self.spec.seeds) * steps))

    def _expected_steps(self, one: Pass) -> int:
        """The steps of a pass, exactly as soon as one like it has a row."""
        return self._steps.get(one.strength, self.spec.steps_of(one))

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
            return self._finish_if_complete()

    def _leave_out(self, pictures: int) -> None:
        with self._lock:
            self._expected -= pictures
            self._finish_if_complete()

    def _finish_if_complete(self) -> bool:
        if not self._going or len(self._images) < self._expected:
            return False
        self._going = False
        images = tuple(self._images[number] for number in sorted(self._images))
        self.run.finish(GenerationResult(images, tuple(self._warnings), self.spec.chosen))
        return True

    def fail(self, error: ServerError) -> None:
        """End the job, if it has not ended."""
        with self._lock:
            if self._going:
                self._going = False
                self.run.fail(error)
