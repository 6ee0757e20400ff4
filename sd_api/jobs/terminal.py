"""Shows in the terminal how far the running job is."""

import logging
import sys
import time
from typing import NoReturn

from tqdm import tqdm

from sd_api.jobs.job import ENDED, Job, JobStatus

log = logging.getLogger(__name__)

# Seconds between two lines where there is no terminal to draw a bar in.
INTERVAL = 10.0

_WORDS = {"failed": "not finished", "cancelled": "cancelled"}


class TerminalProgress:
    """A listener of jobs: a bar for each that runs, or a line now and then where output is no terminal.

    Args:
        main_model: the main model's label.
    """

    def __init__(self, main_model: str) -> None:
        self._main_model = main_model
        self._draw = sys.stderr.isatty()
        self._bars: dict[str, tqdm[NoReturn]] = {}
        self._last_line = time.monotonic()

    def __call__(self, job: Job) -> None:
        """Show a job after a change."""
        status = job.status()
        if status.state in ENDED:
            if (bar := self._bars.pop(status.id, None)) is not None:
                bar.close()
            if status.state != "finished":
                # The engine logs finished jobs, with their time.
                log.info("%s was %s: %s", self._name(status), _WORDS[status.state], status.message)
        elif status.progress is not None and status.progress.steps:
            if self._draw:
                self._update_bar(status)
            elif not status.progress.step:
                # A short job needs no line but the one at its end.
                self._last_line = time.monotonic()
            elif time.monotonic() - self._last_line > INTERVAL:
                self._last_line = time.monotonic()
                log.info("%s: step %d of %d", self._name(status), status.progress.step, status.progress.steps)

    def _update_bar(self, status: JobStatus) -> None:
        assert status.progress is not None  # noqa: S101 - the caller has looked
        if status.id not in self._bars:
            steps, name = status.progress.steps, self._name(status)
            new: tqdm[NoReturn] = tqdm(total=steps, desc=name, unit="step", leave=False)
            self._bars[status.id] = new
        bar = self._bars[status.id]
        bar.update(status.progress.step - bar.n)

    def _name(self, status: JobStatus) -> str:
        return f"{status.mode} with {status.model or self._main_model}"
