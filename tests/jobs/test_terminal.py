"""What a running job looks like in a terminal, and where there is none."""

import fcntl
import logging
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import pytest
from requested import request

from sd_api.errors import GenerationFailed
from sd_api.generation.engine import Progress
from sd_api.generation.result import GenerationResult
from sd_api.jobs import terminal
from sd_api.jobs.job import Job
from sd_api.jobs.terminal import TerminalProgress

Await = Callable[[str], str]


@contextmanager
def screen() -> Iterator[Await]:
    """A real terminal in place of this process's; waits for a text, and gives all that has appeared there."""
    master, slave = pty.openpty()
    # 24 lines of 100 characters.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    shown = b""

    def wait_for(text: str) -> str:
        nonlocal shown
        while text not in shown.decode(errors="replace"):
            assert select.select([master], [], [], 10)[0], f"{text!r} is not in {shown!r}"
            shown += os.read(master, 10_000)
        return shown.decode(errors="replace")

    with open(slave, "w", encoding="utf-8") as output, redirect_stderr(output):
        yield wait_for
    os.close(master)


def watched(steps: int = 4) -> Job:
    """A job that has begun with its steps."""
    job = Job(request(steps=steps))
    job.listen(TerminalProgress("a model"))
    job.start()
    job.report(Progress("loading"))
    job.report(Progress("denoising", 0, steps))
    return job


def test_a_bar_shows_the_model_the_steps_and_the_time_and_goes_at_the_end() -> None:
    with screen() as wait_for:
        job = watched()
        # Longer than tqdm waits before it draws again.
        time.sleep(0.15)
        job.report(Progress("denoising", 2, 4))
        drawn = wait_for("2/4")
        job.finish(GenerationResult(()))
        rest = wait_for(" " * 90 + "\r")
    assert "txt2img with a model:  50%" in drawn + rest
    assert "step/s]" in rest


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sd_api")
    job = watched()
    job.report(Progress("denoising", 1, 4))
    assert caplog.messages == []
    monkeypatch.setattr(terminal, "INTERVAL", 0.0)
    job.report(Progress("denoising", 2, 4))
    job.fail(GenerationFailed("It broke."))
    assert caplog.messages == ["txt2img with a model: step 2 of 4", "txt2img with a model was not finished: It broke."]


def test_a_short_job_after_a_long_rest_has_no_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sd_api")
    monkeypatch.setattr(terminal, "INTERVAL", 0.2)
    progress = TerminalProgress("a model")
    time.sleep(0.3)
    job = Job(request(steps=4))
    job.listen(progress)
    job.start()
    for step in (0, 1):
        job.report(Progress("denoising", step, 4))
    assert caplog.messages == []
