"""A real server process on a free port."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests


class ServerProcess:
    """``python server.py`` as a user starts it.

    Attributes:
        url: where it answers.
        output: what it has printed so far.
    """

    def __init__(self, repository: Path, *arguments: str, environment: dict[str, str]) -> None:
        self.output = ""
        self._listening = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(repository / "server.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env={**os.environ, **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._listening.wait(30):
            self.kill()
            raise AssertionError(f"The server does not listen:\n{self.output}")
        found = re.search(r"http://\S+", self.output)
        assert found is not None, self.output
        self.url = found.group()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
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
            return self._process.wait(timeout=20)
        finally:
            self.kill()

    def kill(self) -> None:
        """Make sure that nothing is left."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
