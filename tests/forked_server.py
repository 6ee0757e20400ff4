"""A real server process without its seconds of imports: forked from a process that has made them once."""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from typing import Any
from unittest.mock import patch

from server_process import ServerProcess

_forks = get_context("forkserver")
# What a server has imported once it is ready, but for small things. One that cannot be imported is left out.
_forks.set_forkserver_preload(
    [
        "diffusers.pipelines.auto_pipeline",
        "diffusers.pipelines.stable_diffusion.safety_checker",
        "transformers.models.clip.image_processing_pil_clip",
        "transformers.models.clip.tokenization_clip",
        "sd_api.app",
        "sd_api.engine.engine",
        "sd_api.models.library",
        "sd_api.serving.server",
        "sd_api.wiring",
    ]
)


class ForkedServer(ServerProcess):
    """A server with the arguments of the command line, in the environment of the tests."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(arguments, {})

    def _begin(self, command: Sequence[str], environment: dict[str, str], output: int) -> Any:
        process = _Process(target=_serve, args=(command, DupFd(output)))
        # The libraries read it when they are imported, which is at the first start.
        with patch.dict(os.environ, HF_HUB_OFFLINE="1"):
            process.start()
        return process


class _Process(ForkServerProcess):
    """With the methods of a subprocess that ServerProcess calls."""

    def send_signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(self.name, timeout or 0)
        return self.exitcode


def _serve(arguments: Sequence[str], output: Any) -> None:
    """Be the server, in the process that was forked."""
    from tqdm import tqdm

    from sd_api.server import main

    # Its own lock is a semaphore as well, which a server that is killed would leave behind.
    tqdm.set_lock(threading.RLock())

    written = output.detach()
    for stream in (1, 2):
        os.dup2(written, stream)
    os.close(written)
    main(arguments)
