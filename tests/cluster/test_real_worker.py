"""The worker's command as a user starts it, with a real model."""

import base64
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from cluster_processes import ClusterProcesses, Process, form, url_of, wait_for_workers
from forked_python import ForkedPython
from PIL import Image
from redis_server import RedisServer
from tiny_model import tiny_model


def test_a_picture_is_made_by_a_worker_and_is_the_same_each_time(repository: Path, tmp_path: Path) -> None:
    with ClusterProcesses(tmp_path, ForkedPython, model=str(tiny_model()), dtype="fp32") as cluster:
        url = url_of(cluster.start_server())
        config = tmp_path / "config0.json"
        command = [str(repository / "sd_api" / "worker.py"), "--config", str(config), "--device", "cpu"]
        worker = Process(command, "Ready", popen=ForkedPython)
        try:
            worker.wait()
            (status,) = wait_for_workers(url, 1)
            assert status["device"] == "cpu"
            assert status["models"][0]["bytes"] > 0
            pictures = [
                requests.post(f"{url}/txt2img", data=form("a dog", 2, seed=7), timeout=60).json()["images"][0]
                for _ in range(2)
            ]
            with Image.open(io.BytesIO(base64.b64decode(pictures[0]["base64"]))) as picture:
                assert picture.size == (64, 64)
            assert pictures[0] == pictures[1]
            assert requests.get(f"{url}/health", timeout=30).json()["status"] == "ready"
        finally:
            worker.end(signal.SIGTERM)
        assert worker.process.returncode == 0
        assert "Stopped." in worker.output


def test_a_worker_without_a_redis_says_how_to_name_it(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "nobody/nothing"}')
    command = [sys.executable, "-m", "sd_api.worker", "--config", str(tmp_path / "config.json")]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "set REDIS_HOST" in ended.stderr


@pytest.mark.parametrize("command", [["server.py"], ["-m", "sd_api.worker"]])
def test_a_redis_that_refuses_the_password_is_named_at_the_start(
    repository: Path, tmp_path: Path, redis_server: RedisServer, command: list[str]
) -> None:
    url = redis_server.url.replace("//", "//:wrong-one@")
    (tmp_path / "config.json").write_text(
        json.dumps({"model": str(tiny_model()), "port": 0, "cluster": {"redis_url": url}})
    )
    with redis_server.client() as client:
        client.config_set("requirepass", "right-one")
        started = [sys.executable, *command, "--config", str(tmp_path / "config.json")]
        try:
            ended = subprocess.run(started, cwd=repository, capture_output=True, text=True, timeout=120, check=False)
        finally:
            client.config_set("requirepass", "")
    assert ended.returncode == 1
    assert "cluster.redis_url: Redis refuses the password" in ended.stderr
    assert "wrong-one" not in ended.stdout + ended.stderr
