"""The package as it is built and installed: nothing is missing in it, and a server starts from it."""

import re
import shutil
import socket
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
    assert packed == files


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A folder with the package and its commands."""
    folder = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    command += ["--disable-pip-version-check", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, timeout=200)
    return folder


@pytest.fixture
def server(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    """A server of the package in a terminal, started by its command in a folder with a configuration."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"host": "0.0.0.0", "enable_public_token": true}', encoding="utf-8")
    monkeypatch.chdir(folder)
    command = [str(installed / "bin" / "sd-api-server"), "--demo", "--device", "cpu", "--port", "0"]
    # Compiled files show below which code ran.
    environment = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": ""}
    server = ServerProcess([*command, "--data", str(tmp_path / "data")], environment, columns=80)
    yield server
    server.kill()


def test_a_server_of_it_makes_a_picture_and_keeps_tasks(server: ServerProcess, installed: Path) -> None:
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
    assert list(installed.glob("sd_api/web/__pycache__/openapi.*.pyc"))

    # The terminal, which has 80 columns, shows nothing but this program's own lines, each of them whole.
    server.wait_for_line("Ready")
    lines = server.output.splitlines()
    assert max(map(len, lines)) <= 80
    own = [line for line in lines if line.strip() and not line.startswith("txt2img with ")]
    assert [line for line in own if not re.match(r"\d\d:\d\d:\d\d  \S| {10}\S", line)] == []
    assert re.fullmatch(r"[\d:]{8}  sd-api-server [\d.]+ is starting", lines[0])
    assert f"  Open this page: {server.url}/" in server.output
    elsewhere = re.findall(r"From other machines: (\S+)", server.output)
    assert {requests.get(url, timeout=10).status_code for url in elsewhere} <= {200}
    assert f"http://{address_of_this_machine()}:{server.url.rpartition(':')[2]}/" in [*elsewhere, f"{server.url}/"]


def address_of_this_machine() -> str:
    """The address that others see, or the loopback's where there are no others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
