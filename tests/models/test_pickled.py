"""Pickled weights: another process reads them, confined; the copy is made once, whole or not at all."""

import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import _cache_assets
from safetensors.torch import load_file, save_file

from sd_api.errors import ModelUnavailable
from sd_api.models import pickled
from sd_api.models.pickled import without_pickles
from sd_api.models.sources import ModelFile

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture
def source(tmp_path: Path) -> ModelFile:
    torch.save(WEIGHTS, tmp_path / "model.ckpt")
    return ModelFile(tmp_path / "model.ckpt")


def folders(assets: Path) -> list[Path]:
    return [path for path in assets.glob("*/*/*/*") if path.is_dir()]


def test_a_file_is_converted_once(assets: Path, source: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    run = subprocess.run

    def counted(*arguments: Any, **options: Any) -> Any:
        started.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # Two at once: one converts, the other waits for it.
    threads = [threading.Thread(target=without_pickles, args=(source,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copy = without_pickles(source)
    assert torch.equal(load_file(copy.path)["a"], WEIGHTS["a"])
    assert len(started) == 1
    assert "hf_secret" not in started[0].values()
    # As a power failure leaves it: it is converted anew.
    os.truncate(copy.path, 20)
    monkeypatch.setattr(pickled, "_convert", lambda _, target: save_file({"b": WEIGHTS["a"]}, target))
    assert load_file(without_pickles(source).path).keys() == {"b"}
    assert folders(assets) == [copy.path.parent]


def test_what_a_killed_server_left_is_not_used(
    assets: Path, source: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halfway(file: Path, target: Path) -> None:
        target.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(pickled, "_convert", halfway)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        without_pickles(source)
    (left,) = folders(assets)
    assert left.name.endswith(".unfinished")
    monkeypatch.undo()
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(assets))
    monkeypatch.setattr(pickled, "_convert", lambda _, target: save_file(WEIGHTS, target))
    copy = without_pickles(source)
    assert folders(assets) == [copy.path.parent]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_bomb_ends_the_process_that_reads_it_and_nothing_else(assets: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("archive/data.pkl", "w") as unpacked:
            for _ in range(700):
                unpacked.write(b"N0" * 500_000)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(ModelUnavailable, match=r"bomb\.ckpt cannot be read .* more memory than a file of its size"):
        without_pickles(ModelFile(bomb))
    assert folders(assets) == []


def test_a_file_that_takes_too_long_is_refused(
    assets: Path, source: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "seconds_for", lambda _: 0.05)
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match="more memory or time"):
        without_pickles(source)
    assert time.monotonic() - started < 5
    assert folders(assets) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses system calls")
def test_the_process_has_no_network_and_starts_no_program(tmp_path: Path) -> None:
    code = """
import os, socket, subprocess
from sd_api.models.confinement import confine
confine(1)
for name, attempt in {
    "socket": socket.socket,
    "program": lambda: subprocess.run(["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
    "long file": lambda: open("long", "wb").truncate(2**30),
    "memory": lambda: bytearray(2**30),
}.items():
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(name, type(error).__name__, sep=": ")
print(sum(range(10)))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "socket: PermissionError",
        "program: PermissionError",
        "signal: PermissionError",
        "long file: OSError",
        "memory: MemoryError",
        "45",
    ]
