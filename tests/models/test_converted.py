"""Converted copies: made once, used instead of the original, never half, never stale."""

import os
import resource
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import _cache_assets
from requested import request
from running import generate
from safetensors.torch import load_file, save_file
from tiny_model import tiny_model

from sd_api.models import converted, loader
from sd_api.models.converted import copy_in_background, find_copy, is_worth_copying
from sd_api.settings import Settings
from sd_api.wiring import build_engine

BF16 = torch.bfloat16


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tiny model in single precision, and an empty cache."""
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    path = tmp_path / "model"
    shutil.copytree(tiny_model(), path)
    for file in path.rglob("*.safetensors"):
        tensors = load_file(file)
        full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        save_file(full, file, {"format": "pt"})
    yield path
    wait_for_copy()


def wait_for_copy() -> None:
    for thread in threading.enumerate():
        if thread.name == "converting":
            thread.join()


def folders(model: Path) -> list[Path]:
    found = model.parent.glob("assets/**/model_index.json")
    return [file.parent for file in found]


def test_the_copy_is_in_the_precision_and_whole(model: Path) -> None:
    assert find_copy(model, BF16) is None
    assert is_worth_copying(model, BF16)
    copy_in_background(model, BF16).join()
    copy = find_copy(model, BF16)
    assert copy is not None
    tensors = load_file(copy / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {BF16}
    files = {path.relative_to(model) for path in model.rglob("*") if path.suffix in (".json", ".txt", ".safetensors")}
    assert files == {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    # Each precision has its own, and only half of the disk's is worth it.
    assert find_copy(model, torch.float16) is None
    assert not is_worth_copying(model, torch.float32)
    assert not is_worth_copying(copy, BF16)


def test_the_next_start_uses_it_and_makes_the_same_picture(
    model: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(model=str(model), dtype="bf16")
    first = generate(build_engine(settings), request())
    wait_for_copy()
    (copy,) = folders(model)
    (model / "unet" / "diffusion_pytorch_model.safetensors").touch()
    stale = generate(build_engine(settings), request())
    assert stale == first
    wait_for_copy()
    # Touched, the model is another one: its older copy went when the new one was there.
    (newer,) = folders(model)
    assert newer != copy
    monkeypatch.setattr(loader, "copy_in_background", lambda *_: pytest.fail("it is there"))
    assert generate(build_engine(settings), request()) == first


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let the system refuse to write longer files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_copy_that_does_not_fit_on_the_disk_leaves_nothing_there(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_end_at(100_000):
        copy_in_background(model, BF16).join()
    assert "No converted copy" in caplog.text
    assert find_copy(model, BF16) is None
    assert not [file for file in model.parent.glob("assets/**/*") if file.is_file() and file.suffix != ".lock"]
    copy_in_background(model, BF16).join()
    assert find_copy(model, BF16) is not None


def test_of_several_that_make_the_same_copy_one_does(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def slowly(*arguments: Any) -> None:
        made.append(threading.current_thread().name)
        time.sleep(0.05)
        save_file(*arguments)

    monkeypatch.setattr(converted, "save_file", slowly)
    threads = [copy_in_background(model, BF16) for _ in range(4)]
    for thread in threads:
        thread.join()
    copy = find_copy(model, BF16)
    assert copy is not None
    # Each part of the model once.
    assert len(made) == len(list(model.rglob("*.safetensors")))
    assert len(list(copy.rglob("*.safetensors"))) == len(made)


def test_a_damaged_copy_is_not_used_and_made_anew(
    model: Path, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(model=str(model), dtype="bf16")
    first = generate(build_engine(settings), request())
    wait_for_copy()
    (copy,) = folders(model)
    # As a power failure leaves it.
    os.truncate(copy / "unet" / "diffusion_pytorch_model.safetensors", 1000)
    assert generate(build_engine(settings), request()) == first
    assert "is not used" in caplog.text
    wait_for_copy()
    assert find_copy(model, BF16) == copy


def test_what_a_killed_server_left_goes(model: Path) -> None:
    copy_in_background(model, BF16).join()
    (copy,) = folders(model)
    unfinished = copy.rename(copy.with_name(f"{copy.name}.unfinished"))
    copy_in_background(model, BF16).join()
    assert find_copy(model, BF16) == copy
    assert not unfinished.exists()


def test_a_nearly_full_disk_is_left_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 1000, 0))
    copy_in_background(model, BF16).join()
    assert find_copy(model, BF16) is None
