"""The commands of the compose file, started here as they stand: Redis, the API and workers, up to a picture."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from redis_server import executable, free_port
from task_calls import QUICK
from task_session import TaskSession, hear_until
from tiny_model import tiny_model

WORKERS = 1
# Seconds until a worker has imported torch and loaded its model, on a machine that does other things as well.
PATIENCE = 240


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """A value of a compose file with its variables filled in, as Docker Compose does it."""
    if isinstance(value, dict):
        return {key: interpolated(part, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        assert variables.get(name) or kind != ":?", f"{name}: {default}"
        return variables.get(name) or default

    filled = re.sub(r"(?<!\$)\$\{(\w+)(:[-?])([^}]*)\}", fill, value)
    return filled.replace("$$", "$")


class Cluster:
    """The services of the compose file as processes of this machine.

    Attributes:
        url: where the API answers.
    """

    def __init__(self, repository: Path, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        variables = {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(free_port()),
            "REDIS_PASSWORD": secrets.token_hex(),
            "SD_HOST": "127.0.0.1",
            "SD_PORT": str(port),
            "SD_DEVICE": "cpu",
            "SD_WORKERS": str(WORKERS),
            "ENABLE_PUBLIC_TOKEN": "1",
        }
        compose = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
        self.services = interpolated(compose["services"], variables)
        # As in the image, with the configuration mounted.
        self._app = folder / "app"
        shutil.copytree(repository / "sd_api", self._app / "sd_api")
        shutil.copytree(repository / "deploy", self._app / "deploy")
        shutil.copy(repository / "server.py", self._app)
        (self._app / "config.json").write_text(f'{{"model": "{tiny_model().as_posix()}", "dtype": "fp32"}}')
        self._data = folder / "data"
        self._data.mkdir()

    def start(self, name: str) -> None:
        """Start all processes of a service, with nothing of this one's environment but what every program needs."""
        service = self.services[name]
        environment = self._environment(name)
        for _ in range(int(service.get("deploy", {}).get("replicas", 1))):
            # What it says is not needed, and a pipe that nobody reads would stop it in the end.
            process = subprocess.Popen(
                service["command"],
                cwd=self._data if name == "redis" else self._app,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
            self._processes.setdefault(name, []).append(process)

    def wait_until_healthy(self, name: str) -> None:
        """Return once the service's own check passes."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(command, cwd=self._app, env=self._environment(name), check=False).returncode:
            assert time.monotonic() < deadline, f"{name} does not get healthy"
            assert all(process.poll() is None for process in self._processes[name]), f"{name} has ended"
            time.sleep(0.1)

    def stop(self) -> dict[str, list[int]]:
        """End everything as Docker does, the workers first; the exit statuses."""
        statuses = {}
        for name in ("worker", "api", "redis"):
            for process in self._processes[name]:
                process.send_signal(signal.SIGTERM)
            statuses[name] = [process.wait(timeout=30) for process in self._processes[name]]
        return statuses

    def _environment(self, name: str) -> dict[str, str]:
        programs = [Path(sys.executable).parent, Path(executable()).parent, "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "PATH": os.pathsep.join(map(str, programs)),
            "HOME": str(self._data),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **self.services[name]["environment"],
        }


@pytest.fixture(scope="module")
def cluster(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster(repository, tmp_path_factory.mktemp("compose"), stack)
        cluster.start("redis")
        cluster.wait_until_healthy("redis")
        cluster.start("api")
        cluster.start("worker")
        cluster.wait_until_healthy("api")
        yield cluster


def metric(url: str, name: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=10).text
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_as_many_workers_as_asked_for_are_there_and_make_a_picture(cluster: Cluster) -> None:
    deadline = time.monotonic() + PATIENCE
    while metric(cluster.url, 'sd_workers{state="ready"}') < WORKERS:
        assert time.monotonic() < deadline, requests.get(f"{cluster.url}/workers", timeout=10).text
        time.sleep(0.2)
    form = {"prompt": "a dog", "num_inference_steps": 2, "width": 64, "height": 64}
    answer = requests.post(f"{cluster.url}/txt2img", data=form, timeout=PATIENCE)
    assert answer.json()["status"] == "success", answer.text
    model = requests.get(f"{cluster.url}/health", timeout=10).json()["model"]
    assert metric(cluster.url, f'sd_pictures_total{{mode="txt2img",model="{model}"}}') == 1
    assert metric(cluster.url, f'sd_model_loaded{{model="{model}",place="device"}}') == WORKERS


def test_a_task_goes_through_with_its_events(cluster: Cluster) -> None:
    ann = TaskSession(cluster.url)
    with ann.listening() as connection:
        ann.create(**QUICK)
        events = hear_until(connection, "finished", "cancelled")
    assert [event["event_type"] for event in events] == ["pending", "started", "finished"]
    picture = ann.call("GET", f"/blob/{events[-1]['image']['blob_id']}")
    assert picture.content.startswith(b"\x89PNG")


def test_everything_ends_at_a_signal(cluster: Cluster) -> None:
    assert cluster.stop() == {"worker": [0] * WORKERS, "api": [0], "redis": [0]}
