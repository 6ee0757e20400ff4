"""A worker whose engine only sleeps: for tests, and for what a job costs beside its pictures.

The prompt says how long, "sleep 0.5", or that the process ends as kill -9 ends it: "die".

    python benchmarks/sleeping_worker.py --config config.json
"""

import io
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image

import sd_api

# Pretends to be of another version, for tests; set before anything is imported that has a look at it.
sd_api.__version__ = os.environ.get("PRETENDED_VERSION", sd_api.__version__)

from sd_api.errors import JobCancelled  # noqa: E402
from sd_api.generation.abilities import ModelAbilities  # noqa: E402
from sd_api.generation.engine import EngineStatus, Feed, Progress, Run  # noqa: E402
from sd_api.generation.result import GeneratedImage, GenerationResult  # noqa: E402
from sd_api.settings import load_settings  # noqa: E402
from sd_api.starting import configure_logging  # noqa: E402
from sd_api.wiring import build_worker  # noqa: E402
from sd_api.worker import run  # noqa: E402


class SleepingEngine:
    """Sleeps for each step, and longer for a model that is new to it; what it draws is black.

    Args:
        load_seconds: how long a model takes to load.
    """

    def __init__(self, load_seconds: float = 0.0) -> None:
        self._load_seconds = load_seconds
        self._loaded: dict[str | None, ModelAbilities] = {}

    def load(self) -> None:
        """See Engine."""
        self._use(None)

    def status(self) -> EngineStatus:
        """See Engine."""
        return EngineStatus("ready", "a bed", "cpu", "fp32", abilities=dict(self._loaded))

    def at_once(self) -> int:
        """See Engine."""
        return 1

    def serve(self, feed: Feed) -> None:
        """See Engine."""
        while runs := feed.poll(self.at_once(), active=False) or feed.wait(self.at_once()):
            self._make(runs, feed)

    def _make(self, runs: Sequence[Run], feed: Feed) -> None:
        """Make jobs one after another, and those that overtake one of them before its next step."""
        for job in runs:
            verb, _, seconds = job.spec.operation.prompt.partition(" ")
            steps = job.spec.operation.steps
            self._use(job.spec.model)
            for step in range(steps):
                self._make(feed.poll(self.at_once(), active=True), feed)
                if verb == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    job.report(Progress("denoising", step, steps))
                except JobCancelled:
                    break
                time.sleep(float(seconds or 0) / steps)
            else:
                picture = io.BytesIO()
                Image.new("RGB", job.spec.size).save(picture, "PNG")
                images = tuple(GeneratedImage(picture.getvalue(), seed, False) for seed in job.spec.seeds)
                job.finish(GenerationResult(images))

    def _use(self, model: str | None) -> None:
        """One model at a time, as on a small card."""
        if model not in self._loaded:
            time.sleep(self._load_seconds)
            self._loaded = {model: ModelAbilities(("txt2img",), 8, 512)}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True)
@click.option("--load-seconds", default=0.0)
def main(config: Path, load_seconds: float) -> None:
    """Sleep until Ctrl-C."""
    write_last_lines = configure_logging()
    settings = load_settings(config)
    assert settings.cluster is not None
    run(build_worker(settings, settings.cluster, lambda: SleepingEngine(load_seconds)), write_last_lines)


if __name__ == "__main__":
    main()
