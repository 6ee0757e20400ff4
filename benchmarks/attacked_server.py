"""A server process that is attacked, and what the others notice meanwhile."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
STARTUP_SECONDS = 60

MB = 1 << 20
FORM, PARTS, JSON = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"


class Watched:
    """A server process that is watched.

    Args:
        host: where it listens.
        port: where it listens.
        process: its process id.

    Attributes:
        address: where it listens.
    """

    def __init__(self, host: str, port: int, process: int) -> None:
        self.address = host, port
        self._seen = psutil.Process(process)

    def get(self, path: str) -> bytes:
        """The body of an answer, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """The status of an answer and its JSON, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connection; with a small buffer, the server cannot send all of an answer that is not read."""
        connection = socket.socket()
        connection.settimeout(60)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(self.address)
        return connection

    def memory(self) -> int:
        """Bytes that are resident."""
        return int(self._seen.memory_info().rss)

    def connections(self) -> int:
        """How many clients are connected."""
        return sum(connection.status != psutil.CONN_LISTEN for connection in self._seen.net_connections())


class Target(Watched):
    """A server with the built-in model and users, in a process of its own.

    Args:
        data: the folder for what it keeps.
        descriptors: how many files it may have open; None leaves that as it is.
        read: whether its output is read.
        ready: whether to wait until it has its model; until then it is busy with itself.
        environment: further variables of its environment.
        popen: starts it: ``subprocess.Popen`` or what takes its place.

    Attributes:
        output: what it has printed, as far as that was read.
        process_id: its process.
    """

    def __init__(
        self,
        data: str,
        descriptors: int | None = None,
        read: bool = True,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
        popen: Any = subprocess.Popen,
    ) -> None:
        self._process = popen(
            [sys.executable, "-u", str(REPOSITORY / "server.py"), "--demo", "--port", "0", "--data", data],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ENABLE_SIGNUP": "1", "OMP_NUM_THREADS": "1"} | dict(environment or {}),
            preexec_fn=partial(_limit, descriptors),
        )
        assert self._process.stdout is not None
        self.process_id = self._process.pid
        self._pipe = self._process.stdout.fileno()
        self.output = ""
        while not (found := re.search(r"http://([\d.]+):(\d+)", self.output)):
            self.output += os.read(self._pipe, 4096).decode()
            assert self._process.poll() is None, self.output
        super().__init__(found[1], int(found[2]), self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        if read:
            self._reader.start()
        deadline = time.monotonic() + STARTUP_SECONDS
        while ready and b'"ready"' not in self.get("/health"):
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None if it has not ended within some seconds."""
        with suppress(subprocess.TimeoutExpired):
            status: int = self._process.wait(seconds)
            return status
        return None

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _read(self) -> None:
        while text := os.read(self._pipe, 65_536):
            self.output += text.decode(errors="replace")


def _limit(descriptors: int | None) -> None:
    # What was started with nohup ignores it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


@contextmanager
def attacked(data: Path | None = None, **options: Any) -> Iterator[Target]:
    """A server for the length of a block, with a new folder if ``data`` is None; for the options see Target."""
    with TemporaryDirectory() as folder:
        target = Target(str(data or folder), **options)
        try:
            yield target
        finally:
            target.stop()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A disk of its own in memory; None where this user may not mount one."""
    with TemporaryDirectory() as folder:
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
        if sys.platform != "linux" or subprocess.run(["mount", *options, folder], check=False).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Make a folder read-only, as a disk with faults becomes; what is open there stays writable."""
    for options in (["--bind", str(folder)], ["-o", "remount,bind,ro"]):
        subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Notice:
    """What the others notice of an attack.

    Attributes:
        seconds: how long it took.
        memory: bytes that the server needed beyond what it had.
        pings: seconds of each answer to ``/ping`` on one connection meanwhile.
    """

    seconds: float = 0.0
    memory: int = 0
    pings: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Milliseconds that one of a hundred pings exceeds."""
        return sorted(self.pings)[int(len(self.pings) * 0.99)] * 1e3


@contextmanager
def watching(target: Watched) -> Iterator[Notice]:
    """Measure while a block runs."""
    notice = Notice()
    over = threading.Event()
    before = target.memory()

    def ping() -> None:
        connection = http.client.HTTPConnection(*target.address, timeout=30)
        while not over.is_set() or len(notice.pings) < 20:
            started = time.perf_counter()
            connection.request("GET", "/ping")
            connection.getresponse().read()
            notice.pings.append(time.perf_counter() - started)
            time.sleep(0.002)
        connection.close()

    def weigh() -> None:
        while not over.is_set():
            notice.memory = max(notice.memory, target.memory() - before)
            time.sleep(0.01)

    watchers = [threading.Thread(target=watcher) for watcher in (ping, weigh)]
    for watcher in watchers:
        watcher.start()
    started = time.perf_counter()
    try:
        yield notice
    finally:
        notice.seconds = time.perf_counter() - started
        over.set()
        for watcher in watchers:
            watcher.join()


@dataclass
class Row:
    """One line of the table: what was measured, and the limit of each."""

    name: str
    notice: Notice
    outcome: str
    seconds: float
    memory: int
    ping: float
    right: bool = True

    @property
    def passed(self) -> bool:
        """Whether everything is within its limit."""
        notice = self.notice
        return (
            self.right and notice.seconds <= self.seconds and notice.memory <= self.memory and notice.p99 <= self.ping
        )

    def __str__(self) -> str:
        notice = self.notice
        return (
            f"{self.name:<44}{notice.seconds:6.2f} /{self.seconds:5.0f} s "
            f"{notice.memory // MB:6} /{self.memory // MB:5} MB"
            f"{notice.p99:8.1f} /{self.ping:4.0f} ms  {'pass' if self.passed else 'FAIL'}  {self.outcome}"
        )
