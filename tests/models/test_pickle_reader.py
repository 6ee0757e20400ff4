"""What the process that reads pickled files makes of them; here without that process."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sd_api.models.pickle_reader import convert

WEIGHTS = {f"layer{index}.weight": torch.full((3, 4), float(index)) for index in range(5)}


class Malicious:
    """Runs a command in every process that unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"echo owned > '{self.marker}'",)


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def assert_converted(path: Path, expected: dict[str, torch.Tensor] = WEIGHTS) -> None:
    assert convert(path, path.with_suffix(".safetensors")) == {}
    read = load_file(path.with_suffix(".safetensors"))
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


def refusal(path: Path) -> dict[str, str]:
    found = convert(path, path.with_suffix(".safetensors"))
    assert not path.with_suffix(".safetensors").exists()
    return found


@pytest.mark.parametrize("content", [WEIGHTS, {"state_dict": WEIGHTS, "global_step": 470000}])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_converted_from_both_formats(pickled: Path, content: Any, zipped: bool) -> None:
    torch.save(content, pickled, _use_new_zipfile_serialization=zipped)
    assert_converted(pickled)


def test_tensors_that_share_memory_become_whole(pickled: Path) -> None:
    flat = torch.arange(12.0)
    tensors = {"flat": flat, "first": flat[:6], "turned": flat.view(3, 4).T, "same": flat}
    torch.save(tensors, pickled)
    assert_converted(pickled, tensors)


def test_what_a_trainer_saved_beside_the_weights_is_left_out(pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": module})
    instance = callback()
    vars(instance)["best_model_path"] = "epoch=7.ckpt"
    content = {"state_dict": WEIGHTS, "callbacks": {callback: {"best": instance}}, "loss": np.float64(0.5)}
    with monkeypatch.context() as installed:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module):
            installed.setitem(sys.modules, name, types.ModuleType(name))
        vars(sys.modules[module])["ModelCheckpoint"] = callback
        torch.save(content, pickled)
    assert b"ModelCheckpoint" in pickled.read_bytes()
    assert_converted(pickled)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_code_is_refused_and_does_not_run(pickled: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    marker = tmp_path / "marker"
    torch.save({"state_dict": WEIGHTS, "bonus": Malicious(marker)}, pickled, **options)
    assert refusal(pickled).keys() <= {"code", "problem"}
    assert not marker.exists()
    torch.load(pickled, weights_only=False)
    assert marker.exists(), "the attack is a real one"


def test_the_refusal_names_the_code(pickled: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "bonus": Malicious(tmp_path / "marker")}, pickled)
    assert refusal(pickled) == {"code": f"{os.system.__module__}.system"}


@pytest.mark.parametrize("content", [[1, 2], 7, torch.zeros(3)])
def test_something_else_than_named_weights_is_refused(pickled: Path, content: Any) -> None:
    torch.save(content, pickled)
    assert refusal(pickled) == {"problem": "it is not a table of named weights"}


@pytest.mark.parametrize("tensor", [torch.zeros(10**12, device="meta"), torch.eye(3).to_sparse()])
def test_tensors_without_data_of_their_own_are_refused(pickled: Path, tensor: torch.Tensor) -> None:
    torch.save({"a": tensor}, pickled)
    assert refusal(pickled) == {"problem": "it holds tensors that are no plain weights"}


def test_a_tensor_that_repeats_one_number_is_refused_before_it_takes_memory(pickled: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**12)}, pickled)
    assert "more memory than a file of its size" in refusal(pickled)["problem"]


def test_a_storage_that_claims_more_than_the_file_has_is_refused(pickled: Path) -> None:
    small = io.BytesIO()
    torch.save({"a": torch.zeros(7)}, small)
    with zipfile.ZipFile(small) as archive, zipfile.ZipFile(pickled, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("data.pkl"):
                # The number 7 as pickle writes it.
                content = content.replace(b"K\x07", b"J" + struct.pack("<i", 10**9))
            changed.writestr(name, content)
    assert refusal(pickled)["problem"].startswith("RuntimeError: ")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", pickle.dumps("hello", protocol=2), b"\x80\x02]" * 99])
def test_other_files_are_refused(pickled: Path, content: bytes) -> None:
    pickled.write_bytes(content)
    assert set(refusal(pickled)) == {"problem"}
