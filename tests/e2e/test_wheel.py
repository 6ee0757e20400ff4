"""The package as it is built and installed: nothing is missing in it, and a server starts from it."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from server_process import ServerProcess

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "server.py", "sd_api")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy, because building leaves files beside the sources."""
    copy, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(repository / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(built), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = built.glob("*.whl")
    return wheel


def test_every_file_is_in_it(repository: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(repository).as_posix()
        for path in (repository / "sd_api").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == {"server.py", *files}


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def server(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    """A server of the package, started in an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    arguments = ["--demo", "--device", "cpu", "--port", "0", "--data", str(tmp_path / "data")]
    # Compiled files show below which code ran.
    environment = {"HF_HUB_OFFLINE": "1", "ENABLE_PUBLIC_TOKEN": "1", "PYTHONDONTWRITEBYTECODE": ""}
    server = ServerProcess(unpacked, *arguments, environment=environment)
    yield server
    server.kill()


def test_a_server_of_it_makes_a_picture_and_keeps_tasks(server: ServerProcess, unpacked: Path) -> None:
    server.wait_until("ready")
    form = {"prompt": "a dog", "num_inference_steps": 1, "width": 64, "height": 64}
    assert requests.post(f"{server.url}/txt2img", data=form, timeout=60).json()["status"] == "success"
    # Its database was made by the migrations.
    token = requests.post(f"{server.url}/token/all", timeout=10).json()["access_token"]
    tasks = requests.get(f"{server.url}/tasks", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert tasks.json() == {"tasks": []}
    for path in ("/", "/status", "/docs/", "/openapi.yml"):
        assert requests.get(server.url + path, timeout=10).ok, path
    # It was this package's code that ran.
    assert list(unpacked.glob("sd_api/web/__pycache__/openapi.*.pyc"))
