"""Python scripts in real processes without their seconds of imports: forked from a process that has made them once."""

import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest.mock import patch

_forks = get_context("forkserver")
# What a server, or a process of a cluster, has imported once it is ready, but for small things. One that cannot be
# imported is left out.
_forks.set_forkserver_preload(
    [
        "diffusers.pipelines.auto_pipeline",
        "diffusers.pipelines.stable_diffusion.safety_checker",
        "transformers.models.clip.image_processing_pil_clip",
        "transformers.models.clip.tokenization_clip",
        "sd_api.app",
        "sd_api.engine.engine",
        "sd_api.jobs.cluster.queue",
        "sd_api.jobs.cluster.worker",
        "sd_api.models.library",
        "sd_api.serving.server",
        "sd_api.storage.cluster.blobs",
        "sd_api.storage.cluster.tasks",
        "sd_api.storage.cluster.users",
        "sd_api.tasks.cluster.event_bus",
        "sd_api.tasks.cluster.task_queue",
        "sd_api.wiring",
        "sd_api.worker",
    ]
)


class ForkedPython(ForkServerProcess):
    """Takes the place of ``subprocess.Popen`` for a Python script, as far as the tests and benchmarks use that.

    Variables that a library reads when it is imported have no effect.

    Args:
        command: the interpreter, its option ``-u`` or none, the script, and the script's arguments.
        stdout: where it writes, errors included; for a pipe, see the attribute of this name.
        stderr: the same, or ``subprocess.STDOUT``.
        env: its whole environment; that of this process if None.
        cwd: its folder.
        preexec_fn: what it does first; it must be possible to pickle.
        text: whether the pipe is of text.
        encoding: of that text.

    Attributes:
        stdout: the pipe that it writes to, or None.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int,
        stderr: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        preexec_fn: Callable[[], None] | None = None,
        text: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        assert stderr in (stdout, subprocess.STDOUT)
        reading, writing = os.pipe() if stdout == subprocess.PIPE else (None, stdout)
        script = [argument for argument in command[1:] if argument != "-u"]
        super().__init__(target=_run, args=(script, DupFd(writing), dict(env or os.environ), cwd, preexec_fn))
        # The libraries read it when they are imported, which is at the first start.
        with patch.dict(os.environ, HF_HUB_OFFLINE="1"):
            self.start()
        self.stdout: Any = None
        if reading is not None:
            os.close(writing)
            self.stdout = os.fdopen(reading, encoding=encoding) if text else os.fdopen(reading, "rb", 0)

    @property
    def returncode(self) -> int | None:
        """Its exit status once it has ended."""
        return self.exitcode

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.exitcode is None:
            assert self.pid is not None
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not within some seconds.
        """
        self.join(timeout)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(self.name, timeout or 0)
        return self.exitcode


def output_of(command: Sequence[str]) -> tuple[int, str]:
    """The exit status of a Python script that ends by itself, and what it wrote."""
    process = ForkedPython(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process.stdout as pipe:
        output: str = pipe.read()
    return process.wait(60), output


def _run(
    script: Sequence[str],
    output: Any,
    environment: Mapping[str, str],
    folder: Path | None,
    first: Callable[[], None] | None,
) -> None:
    """Be the script, in the process that was forked."""
    from tqdm import tqdm

    # The collector would look at all that was imported, and so copy its memory.
    gc.freeze()
    # Its own lock is a semaphore as well, which a server that is killed would leave behind.
    tqdm.set_lock(threading.RLock())

    if first is not None:
        first()
    written = output.detach()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(written, stream.fileno())
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.close(written)
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    sys.argv = list(script)
    runpy.run_path(script[0], run_name="__main__")
