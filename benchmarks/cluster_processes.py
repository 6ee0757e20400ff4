"""The processes of a small cluster on this machine: Redis, servers and workers, started, killed and started again."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from redis_server import RedisServer

REPOSITORY = Path(__file__).resolve().parent.parent
WORKER = [str(REPOSITORY / "benchmarks" / "sleeping_worker.py")]

# Seconds that a process has to start in, on a busy machine.
PATIENCE = 60.0


class Process:
    """One of them.

    Args:
        arguments: of Python.
        environment: beside that of this process.
        ready: a pattern of what it says once it is there.
        popen: starts it: ``subprocess.Popen`` or what takes its place.

    Attributes:
        output: what it has said so far.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        ready: str,
        environment: dict[str, str] | None = None,
        popen: Any = subprocess.Popen,
    ) -> None:
        self.output = ""
        self._said = threading.Condition()
        self.process = popen(
            [sys.executable, "-u", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=REPOSITORY,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._ready = ready

    def wait(self, pattern: str | None = None) -> "re.Match[str]":
        """What it says, once it has said it; without a pattern, that it is there."""
        wanted = re.compile(pattern or self._ready)
        with self._said:
            self._said.wait_for(lambda: wanted.search(self.output) or self.process.poll() is not None, PATIENCE)
            found = wanted.search(self.output)
        assert found is not None, f"never said {wanted.pattern}:\n{self.output}"
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, as kill -9 does unless another signal is named."""
        if self.process.poll() is None:
            self.send(number)
            if number != signal.SIGKILL:
                # One that is halted cannot hear.
                self.send(signal.SIGCONT)
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.output += line
                self._said.notify_all()
        with self._said:
            self._said.notify_all()


class ClusterProcesses:
    """Redis, and what is started beside it; as a context manager, it ends everything.

    Args:
        folder: for their files.
        popen: starts each: ``subprocess.Popen`` or what takes its place.
        settings: of all of them.

    Attributes:
        redis: the Redis server.
    """

    def __init__(self, folder: Path, popen: Any = subprocess.Popen, **settings: Any) -> None:
        (folder / "redis").mkdir()
        self.redis = RedisServer(folder / "redis")
        self._folder = folder
        self._popen = popen
        cluster = {"redis_url": self.redis.url, **settings.pop("cluster", {})}
        # All clients have one address here, so one limit for all of them.
        limits = {"max_queued_requests_per_client": 64, **settings.pop("limits", {})}
        served = {"model": "nobody/nothing", "device": "cpu", "port": 0}
        self._settings = {**served, "cluster": cluster, "limits": limits, **settings}
        self._processes: list[Process] = []

    def __enter__(self) -> "ClusterProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.end()
        self.redis.stop()

    def start_server(self) -> Process:
        """Start an API process; ``url_of`` waits for it."""
        number = len(self._processes)
        arguments = [str(REPOSITORY / "server.py"), *self._config(number, data=str(self._folder / f"data{number}"))]
        return self._started(Process(arguments, r"(http://127\S+)", popen=self._popen))

    def start_worker(self, *arguments: str, **environment: str) -> Process:
        """Start a worker that sleeps."""
        config = self._config(len(self._processes))
        # Variables are read when it imports.
        popen = subprocess.Popen if environment else self._popen
        return self._started(Process([*WORKER, *config, *arguments], r"Worker ([0-9a-f]{32})", environment, popen))

    def _config(self, number: int, **settings: Any) -> list[str]:
        path = self._folder / f"config{number}.json"
        path.write_text(json.dumps({**self._settings, **settings}), encoding="utf-8")
        return ["--config", str(path)]

    def _started(self, process: Process) -> Process:
        self._processes.append(process)
        return process


def url_of(server: Process) -> str:
    """Where a server answers, once it does."""
    return server.wait().group(1)


def wait_for_workers(url: str, count: int) -> list[dict[str, Any]]:
    """Who makes the pictures, once there are as many as this who are ready."""
    deadline = time.monotonic() + PATIENCE
    while True:
        workers: list[dict[str, Any]] = requests.get(f"{url}/workers", timeout=30).json()["workers"]
        if len([worker for worker in workers if worker["state"] == "ready"]) >= count:
            return workers
        assert time.monotonic() < deadline, workers
        time.sleep(0.05)


def form(prompt: str, steps: int = 5, **fields: Any) -> dict[str, Any]:
    """A small request for a worker that sleeps."""
    return {"prompt": prompt, "num_inference_steps": steps, "width": 64, "height": 64, **fields}
