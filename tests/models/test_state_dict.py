"""Model files come from anywhere: weights are read, damage is reported."""

import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sd_api.errors import ModelUnavailable
from sd_api.models.state_dict import WeightFile

WEIGHTS = {f"layer{index}.weight": torch.full((3, 4), float(index)) for index in range(5)}


def write(path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path)
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.SAFETENSORS"])
def test_weights_are_read_by_name(tmp_path: Path, name: str) -> None:
    read = WeightFile(write(tmp_path / name.lower()).rename(tmp_path / name)).tensors()
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    whole = path.read_bytes()
    for length in [0, 1, 8, *random.Random(0).sample(range(len(whole)), 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelUnavailable, match="get it again"):
            WeightFile(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", pickle.dumps("hello", protocol=2)])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    for suffix in (".ckpt", ".safetensors"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelUnavailable, match="cannot be read as a model file"):
            WeightFile(path)
