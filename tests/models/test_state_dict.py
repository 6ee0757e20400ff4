"""Model files come from anywhere: weights are read, code is refused, damage is told."""

import os
import pickle
import random
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sd_api.errors import ModelUnavailable
from sd_api.models.state_dict import read_state_dict

WEIGHTS = {f"layer{index}.weight": torch.full((3, 4), float(index)) for index in range(5)}


class Malicious:
    """Runs a command in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"echo owned > '{self.marker}'",)


def write(path: Path, content: Any = None, **options: Any) -> Path:
    content = WEIGHTS if content is None else content
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, **options)
    return path


def assert_weights(path: Path) -> None:
    read = read_state_dict(path)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.SAFETENSORS", "model.ckpt"])
def test_weights_are_read_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name.lower())
    assert_weights(path.rename(tmp_path / name))


def test_the_old_format_of_pytorch_is_read(tmp_path: Path) -> None:
    assert_weights(write(tmp_path / "model.ckpt", _use_new_zipfile_serialization=False))


def test_what_a_trainer_saved_beside_the_weights_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": module})
    instance = callback()
    vars(instance)["best_model_path"] = "epoch=7.ckpt"
    content = {
        "state_dict": WEIGHTS,
        "callbacks": {callback: {"best": instance}},
        "loss": np.float64(0.5),
    }
    path = tmp_path / "model.ckpt"
    with monkeypatch.context() as installed:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module):
            installed.setitem(sys.modules, name, types.ModuleType(name))
        vars(sys.modules[module])["ModelCheckpoint"] = callback
        write(path, content)
    assert b"ModelCheckpoint" in path.read_bytes()
    assert_weights(path)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_code_is_refused_and_does_not_run(tmp_path: Path, options: dict[str, Any]) -> None:
    marker = tmp_path / "marker"
    path = write(tmp_path / "model.ckpt", {"state_dict": WEIGHTS, "bonus": Malicious(marker)}, **options)
    with pytest.raises(ModelUnavailable):
        read_state_dict(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the attack is a real one"


def test_the_refusal_names_the_code_and_the_safe_format(tmp_path: Path) -> None:
    path = write(tmp_path / "model.ckpt", {"state_dict": WEIGHTS, "bonus": Malicious(tmp_path / "marker")})
    with pytest.raises(ModelUnavailable, match=rf"{os.system.__module__}\.system.*\.safetensors") as refusal:
        read_state_dict(path)
    assert "weights_only" not in refusal.value.message


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_a_file_cut_short_anywhere_is_told(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    whole = path.read_bytes()
    for length in [0, 1, 8, *random.Random(0).sample(range(len(whole)), 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelUnavailable, match="get it again"):
            read_state_dict(path)


@pytest.mark.parametrize("content", [[1, 2], 7, torch.zeros(3)])
def test_something_else_than_named_weights_is_told(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ModelUnavailable, match="not a table of named weights"):
        read_state_dict(write(tmp_path / "model.ckpt", content))


@pytest.mark.parametrize("content", [b"<html>404</html>", pickle.dumps("hello", protocol=2)])
def test_another_kind_of_file_is_told(tmp_path: Path, content: bytes) -> None:
    for suffix in (".ckpt", ".safetensors"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelUnavailable, match="cannot be read as a model file"):
            read_state_dict(path)
