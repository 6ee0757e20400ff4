"""What shared steps bring: how soon short jobs begin, what several clients get at once, what is lost between jobs.

On the processor with the built-in model and, where there is an NVIDIA card, on it with a model of the shape of Stable
Diffusion 1.5. What is compared runs in turn in this process, so ratios hold where other programs slow down both. The
last line is JSON.

    python benchmarks/batching.py
"""

import argparse
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from sd15 import model_directory
from specs import StepTimes, image_to_image, masking, text_to_image

from sd_api.allocator import keep_freed_memory, share_one_arena
from sd_api.engine.engine import DiffusersEngine
from sd_api.engine.finishing import Finisher
from sd_api.generation.engine import EngineStatus
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.jobs.local import LocalQueue
from sd_api.models.components import Parts
from sd_api.models.device import choose_device
from sd_api.models.libraries import import_libraries
from sd_api.models.library import ModelLibrary
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Limits, Settings

SEED = 20
LONG, SHORT = 100, 4
# Masked pictures, one after another, with so few steps that their ends are most of what is seen.
PICTURES, PICTURE_STEPS = 4, 2


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        device: ``cpu`` or ``cuda:0``.
        what: is measured.
        value: the median.
        unit: of the value; a ratio has none.
        target: what it should be.
    """

    device: str
    what: str
    value: float
    unit: str = ""
    target: str = ""


class InlineFinisher(Finisher):
    """Lets the device wait for every picture, as an engine does that has no threads for them."""

    def finish(self, *arguments: Any, **named: Any) -> None:
        """See Finisher."""
        super().finish(*arguments, **named)
        self.drain()


class Place:
    """A queue with a model on a device.

    Args:
        device: as in the configuration.
        model: likewise.
        size: of the pictures, in pixels.
        large: of the masked ones.
    """

    def __init__(self, device: str, model: str, size: int, large: int) -> None:
        self.device, self.size, self.large = device, size, large
        values = {"model": model, "device": device, "requires_safety_checker": False}
        settings = Settings.model_validate(values)
        choice = choose_device(settings.device, settings.dtype)
        self._library = ModelLibrary(settings, choice)
        self._engine = DiffusersEngine(self._library, choice, "measured")
        limits = Limits(max_queued_requests=1000, max_queued_requests_per_client=1000)
        self.queue = LocalQueue(lambda: self._engine, EngineStatus("loading", "measured"), limits)
        self.queue.start()
        self.make(text_to_image(size, 2))

    def make(self, *specs: JobSpec) -> float:
        """Make jobs of different clients, all asked for at once; the seconds until the last has ended."""
        started = time.perf_counter()
        jobs = [self.queue.submit(spec, client=f"client {number}") for number, spec in enumerate(specs)]
        for job in jobs:
            job.result()
        return time.perf_counter() - started

    def watch(self, spec: JobSpec, client: str) -> tuple[Job, StepTimes]:
        """Ask for a job, and note when its steps are done."""
        times = StepTimes()
        job = self.queue.submit(spec, client=client)
        job.listen(times)
        return job, times

    @property
    def parts(self) -> Parts:
        """The model; the queue must be idle when this is first asked for."""
        return self._library.get(None).parts

    def finish_inline(self, inline: bool) -> None:
        """Choose how pictures are finished; the queue must be idle."""
        self._engine._finisher = InlineFinisher() if inline else Finisher()

    def rows(self, rounds: int) -> Iterator[Row]:
        """Everything that is measured here."""
        for measure in (self._first_steps, self._clients, self._delay, self._ends):
            for what, value, *rest in measure(rounds):
                yield Row(self.device, what, value, *rest)

    def _first_steps(self, rounds: int) -> Iterator[tuple[Any, ...]]:
        """A short job that comes at a random moment of a long one's step."""
        cases = {
            "the same client": ("one", self.size),
            "another client": ("other", self.size),
            "another client, another size": ("other", self.size // 2),
        }
        chance = random.Random(SEED)
        for name, (client, size) in cases.items():
            steps, times, waits = [], [], []
            for _ in range(rounds):
                long, ran = self.watch(text_to_image(self.size, LONG), "one")
                ran.wait_for(6)
                step = (ran.times[5] - ran.times[1]) / 4
                time.sleep(step * chance.random())
                asked = time.perf_counter()
                short, began = self.watch(text_to_image(size, SHORT), client)
                began.wait_for(1)
                first = began.times[0]
                # Its own is one of them; one that both share is counted once.
                steps.append(1 + sum(asked < moment < first - step / 4 for moment in ran.times))
                waits.append(first - asked)
                times.append(waits[-1] / step)
                short.result()
                self.queue.cancel(long.id, "Not wanted.")
            yield f"a short job's first step is done, {name}", statistics.median(steps), "steps", "<= 2"
            yield f"the same, {name}", statistics.median(times), "step times"
            yield f"the same, {name}", 1e3 * statistics.median(waits), "ms"

    def _clients(self, rounds: int) -> Iterator[tuple[Any, ...]]:
        """Eight clients who want different things of one size."""
        specs = _mixed(self.size)
        pairs = [(self.make(*specs), sum(self.make(spec) for spec in specs)) for _ in range(rounds)]
        together, alone = (60 * len(specs) / statistics.median(times) for times in zip(*pairs, strict=True))
        yield "8 clients at once", together, "images/min"
        yield "the same jobs one by one", alone, "images/min"
        yield "times as many at once", statistics.median(alone / together for together, alone in pairs)

    def _delay(self, rounds: int) -> Iterator[tuple[Any, ...]]:
        """A long job while there is always a short one that would overtake it, of a size that cannot join."""
        long, short = text_to_image(self.size, LONG), text_to_image(self.size - 64, SHORT)
        ratios, counts = [], []
        for _ in range(rounds):
            alone = self.make(long)
            ended = threading.Event()
            made: list[int] = []

            def overtake(ended: threading.Event = ended, made: list[int] = made) -> None:
                while not ended.is_set():
                    self.queue.submit(short, client="other").result()
                    made.append(1)

            started = time.perf_counter()
            job = self.queue.submit(long, client="one")
            others = threading.Thread(target=overtake)
            others.start()
            job.result()
            ratios.append((time.perf_counter() - started) / alone)
            counts.append(len(made))
            ended.set()
            others.join()
        yield "a long job's time, overtaken as often as may be", statistics.median(ratios), "", "<= 2"
        yield "jobs that overtook it", statistics.median(counts)

    def _ends(self, rounds: int) -> Iterator[tuple[Any, ...]]:
        """Large masked pictures, each of a size of its own, so that they come one after another."""
        specs = [masking(self.large, self.large - 8 * number, PICTURE_STEPS) for number in range(PICTURES)]
        self.make(*specs[:1])
        idle: dict[bool, list[float]] = {False: [], True: []}
        whole: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for inline in (False, True):
                self.finish_inline(inline)
                with _calls(self.parts) as calls:
                    whole[inline].append(self.make(*specs))
                idle[inline] += _between(calls)
        for inline, name in ((False, "beside the device"), (True, "inline")):
            yield f"idle between two pictures, finished {name}", 1e3 * statistics.median(idle[inline]), "ms"
        ratios = [slow / fast for fast, slow in zip(whole[False], whole[True], strict=True)]
        yield "times as long where finished inline", statistics.median(ratios)


def _mixed(size: int) -> Sequence[JobSpec]:
    return (
        text_to_image(size, 8),
        text_to_image(size, 20, prompt="a red cat", scheduler="euler"),
        text_to_image(size, 12, prompt="a house", guidance=1.0),
        text_to_image(size, 16, prompt="a tree", guidance=4.0, negative_prompt="a bird", scheduler="ddim"),
        text_to_image(size, 10, prompt="a boat", scheduler="euler-a"),
        text_to_image(size, 14, prompt="a fish", scheduler="dpm++"),
        image_to_image(size, 20, strength=0.6, prompt="a star"),
        masking(size, size, 12, prompt="a flower"),
    )


@contextmanager
def _calls(parts: Parts) -> Iterator[list[tuple[str, float, float]]]:
    """What runs on the device, when it began and when it ended."""
    calls: list[tuple[str, float, float]] = []
    begun: dict[str, float] = {}
    vae: Any = parts.autoencoder.module
    modules = {"denoiser": parts.denoiser.module, "decoder": vae.decoder, "encoder": vae.encoder}
    modules |= {part.name: part.module for part in parts.text_encoders}

    def before(name: str) -> Callable[..., None]:
        return lambda *_: begun.__setitem__(name, _now())

    def after(name: str) -> Callable[..., None]:
        return lambda *_: calls.append((name, begun[name], _now()))

    handles = [module.register_forward_pre_hook(before(name)) for name, module in modules.items()]
    handles += [module.register_forward_hook(after(name)) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _between(calls: Sequence[tuple[str, float, float]]) -> Iterator[float]:
    """Seconds in which nothing ran between the last step of a picture and the first of the next one."""
    begin, busy, decoded = 0.0, 0.0, False
    for name, started, ended in calls:
        if name == "denoiser":
            if decoded:
                yield started - begin - busy
            begin, busy, decoded = ended, 0.0, False
        else:
            busy += ended - started
            decoded = decoded or name == "decoder"


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="of the pictures on the processor")
    parser.add_argument("--large", type=int, default=1024, help="of masked pictures")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    import_libraries()
    share_one_arena()
    keep_freed_memory()
    places = [("cpu", str(BUILTIN_MODEL), arguments.size)]
    if torch.cuda.is_available():
        places.append(("cuda:0", str(model_directory()), 512))
    rows = []
    print(f"{'device':8}{'what':62}{'median':>9}  {'unit':12}target")
    for device, model, size in places:
        place = Place(device, model, size, arguments.large)
        try:
            for row in place.rows(arguments.rounds):
                rows.append(row)
                print(f"{row.device:8}{row.what:62}{row.value:>9.2f}  {row.unit:12}{row.target}", flush=True)
        finally:
            place.queue.stop(timeout=10)
    print(json.dumps({"rounds": arguments.rounds, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
