"""The runs that go through the engine together; each keeps its own seeds, progress, warnings and end."""

from collections.abc import Sequence
from dataclasses import dataclass

from sd_api.errors import JobCancelled, ServerError
from sd_api.generation.engine import Phase, Progress, Run
from sd_api.generation.request import GenerationRequest
from sd_api.generation.result import GeneratedImage, GenerationResult


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture that has to be made."""

    member: "Member"
    seed: int

    @property
    def request(self) -> GenerationRequest:
        """The request that it is a part of."""
        return self.member.run.request


class Member:
    """One run, with the pictures that it has so far.

    Attributes:
        run: whose pictures they are.
        alive: whether its pictures are still wanted.
        finished: whether it has got them all.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.alive = True
        self.finished = False
        self._images: list[GeneratedImage] = []
        self._warnings: list[str] = []

    def remaining(self) -> list[Picture]:
        """What is still to be made, in the order of the seeds."""
        return [Picture(self, seed) for seed in self.run.request.seeds[len(self._images) :]] if self.alive else []

    def report(self, phase: Phase, pictures: int = 0, step: int = 0, steps: int = 0) -> None:
        """Tell the run where it is; a cancelled one drops out.

        Args:
            phase: what is being done.
            pictures: how many of its pictures are in this pass.
            step: the steps of this pass that are done.
            steps: the steps of a picture.
        """
        if not self.alive:
            return
        done, total = len(self._images) * steps + pictures * step, len(self.run.request.seeds) * steps
        self._report(Progress(phase, done, total))

    def report_download(self, arrived: int, total: int) -> None:
        """Tell the run how much of its model has been downloaded, in bytes."""
        if self.alive:
            self._report(Progress("downloading", bytes=arrived, total_bytes=total))

    def _report(self, progress: Progress) -> None:
        try:
            self.run.report(progress)
        except JobCancelled:
            self.alive = False

    def warn(self, warning: str) -> None:
        """Have the answer say what was done in a lesser way."""
        if warning not in self._warnings:
            self._warnings.append(warning)

    def add(self, image: GeneratedImage) -> None:
        """Take the next picture; with the last one the run is finished."""
        self._images.append(image)
        if self.alive and len(self._images) == len(self.run.request.seeds):
            self.alive, self.finished = False, True
            self.run.finish(GenerationResult(tuple(self._images), tuple(self._warnings)))

    def fail(self, error: ServerError) -> None:
        """End the run, if it has not ended."""
        if self.alive:
            self.alive = False
            self.run.fail(error)


def members_of(pictures: Sequence[Picture]) -> list[Member]:
    """The members that pictures are of, each once."""
    return list(dict.fromkeys(picture.member for picture in pictures))
