"""A real server process on a free port."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import requests


class ServerProcess:
    """A server as a user starts it.

    Args:
        command: what is called, with its arguments.
        environment: beside that of this process.
        columns: the width of the terminal that it writes to; None for a pipe.
        popen: starts it: ``subprocess.Popen`` or what takes its place.

    Attributes:
        url: where it answers.
        output: what it has printed so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        columns: int | None = None,
        popen: Any = subprocess.Popen,
    ) -> None:
        self.output = ""
        self._listening = threading.Event()
        reading, writing = os.pipe() if columns is None else pty.openpty()
        if columns is not None:
            fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        changed = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._process = popen(command, stdout=writing, stderr=writing, env=changed)
        os.close(writing)
        self._shown: TextIO = os.fdopen(reading, encoding="utf-8")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._listening.wait(60):
            self.kill()
            raise AssertionError(f"The server does not listen:\n{self.output}")
        found = re.search(r"http://[^\s/]+", self.output)
        assert found is not None, self.output
        self.url = found.group()

    def _read(self) -> None:
        # A terminal ends with an error once nothing writes to it any more.
        with suppress(OSError):
            for line in self._shown:
                self.output += line
                if "http://" in line:
                    self._listening.set()
        self._listening.set()

    def wait_until(self, state: str) -> dict[str, Any]:
        """The answer of /health once it says ``state``."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            health: dict[str, Any] = requests.get(f"{self.url}/health", timeout=10).json()
            if health["status"] == state:
                return health
            time.sleep(0.05)
        raise AssertionError(f"never {state}: {health}\n{self.output}")

    def wait_for_line(self, pattern: str) -> None:
        """Return once it has printed what the pattern matches; it may do so after it has answered."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, f"{pattern} is not in\n{self.output}"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Press Ctrl-C; the exit status."""
        self._process.send_signal(how)
        try:
            status: int = self._process.wait(timeout=20)
            return status
        finally:
            self.kill()

    def kill(self) -> None:
        """Make sure that nothing is left."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._shown.close()
