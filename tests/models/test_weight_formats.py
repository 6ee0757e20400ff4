"""What a file of weights is, its content says: whatever its name, it is read as that, or refused as what it is."""

import itertools
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import save_file

from sd_api.models import extras
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.files import find_faults
from sd_api.models.headers import read_header
from sd_api.models.pickle_reader import convert
from sd_api.models.sources import ModelDirectory, ModelFile
from sd_api.models.state_dict import WeightFile
from sd_api.models.weight_formats import check_weights, format_of

WEIGHTS = {"first.weight": torch.arange(64.0).reshape(2, 32), "first.bias": torch.ones(2)}


def write_gguf(path: Path, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0) -> Path:
    writer = gguf.GGUFWriter(path, "flux")
    writer.add_array("general.tags", ["one", "two"])
    writer.add_array("sizes", [1, 2, 3])
    writer.add_tensor("first.weight", gguf.quants.quantize(WEIGHTS["first.weight"].numpy(), kind), raw_dtype=kind)
    writer.add_tensor("first.bias", WEIGHTS["first.bias"].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: save_file(WEIGHTS, path),
    "pickle": lambda path: torch.save(WEIGHTS, path),
    "gguf": write_gguf,
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pickle", "model.safetensors"),
        *itertools.product(["safetensors", "gguf"], ["model.safetensors", "model.ckpt", "model.gguf", "model.sft"]),
    ],
)
def test_a_file_is_what_its_content_says(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[kind](path)
    assert find_faults(ModelFile(path)) == []
    assert format_of(path) == kind
    read = WeightFile(path)
    assert {key: info.shape for key, info in read.header.tensors.items()} == {
        "first.weight": (2, 32),
        "first.bias": (2,),
    }
    assert torch.equal(read.tensors()["first.bias"], WEIGHTS["first.bias"])


LOGIN = {"error": "Unauthorized", "message": "The creator of this asset requires you to be logged in"}


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.gguf"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps(LOGIN).encode(), 'an answer of a web site instead of the file itself ({"error": "Unauthorized"'),
        (b"\xef\xbb\xbf\n " + json.dumps([LOGIN], indent=2).encode(), "an answer of a web site instead of the file"),
        (b"7z\xbc\xaf\x27\x1c and more", "a 7z archive instead of weights"),
        (b"<!doctype html><html>Sign in</html>", "a web page instead of the file itself"),
    ],
)
def test_what_a_site_answers_is_no_model(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (fault,) = find_faults(ModelFile(path))
    assert fault.startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("pickle", "safetensors", "it holds pickled weights of PyTorch, which its name does not say"),
        ("gguf", "safetensors", "it holds GGUF, which its name does not say"),
        ("safetensors", "bin", "it holds safetensors, which its name does not say"),
    ],
)
def test_in_a_folder_the_name_has_to_be_right(kind: str, named: str, expected: str, model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    WRITERS[kind](model / "unet" / f"diffusion_pytorch_model.{named}")
    (fault,) = find_faults(ModelDirectory(model))
    assert expected in fault


def test_a_gguf_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "model.gguf"
    # At its end are 8 bytes of weights, and zeros up to a multiple of 32.
    for length in [5, 8, 20, *range(24, len(whole) - 32, 37), len(whole) - 25]:
        path.write_bytes(whole[:length])
        (fault,) = find_faults(ModelFile(path))
        assert "cut short or damaged" in fault, length


def header(*, tensors: int = 0, entries: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (header(version=1), "GGUF of version 1"),
        (header(tensors=2**40), "more than 100,000 tensors"),
        (header(entries=2**40), "more than 10,000 entries"),
        (header(), "it holds no weights"),
        (header(entries=1, rest=struct.pack("<Q", 2**60)), "cut short or damaged"),
        (header(entries=1, rest=text(b"a") + struct.pack("<IIQ", 9, 8, 2**60)), "cut short or damaged"),
        (header(entries=1, rest=text(b"a") + struct.pack("<IIQ", 9, 4, 2**60)), "cut short or damaged"),
        (header(entries=1, rest=text(b"a") + struct.pack("<IIQ", 9, 9, 1)), "a value has the type 9"),
        (header(entries=1, rest=text(b"general.alignment") + struct.pack("<II", 4, 0)), "its alignment is 0"),
        (header(tensors=1, rest=text(b"a") + struct.pack("<I", 2**31)), "2147483648 dimensions"),
        (header(tensors=1, rest=text(b"a") + struct.pack("<IQIQ", 1, 2**62, 0, 0)), "lies outside of it"),
        (header(tensors=1, rest=text(b"a") + struct.pack("<IQIQ", 1, 4, 999, 0)), "the type 999, which is unknown"),
        (header(tensors=1, rest=text(b"a") + struct.pack("<IQIQ", 1, 31, 8, 0)), "has rows of 31"),
        (header(tensors=2, rest=2 * (text(b"a") + struct.pack("<IQIQ", 1, 4, 0, 0))), "two of its tensors have one"),
    ],
)
def test_a_hostile_gguf_header_is_refused_within_bounds(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content + bytes(64))
    with pytest.raises(FileFaultError) as refusal:
        check_weights(path)
    assert expected in str(refusal.value)


def test_a_long_gguf_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd_api.models.gguf_header.MAX_HEADER_BYTES", 40)
    with pytest.raises(FileFaultError, match="its header has more than 40 bytes"):
        check_weights(write_gguf(tmp_path / "model.gguf"))


def test_what_reads_gguf_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "model.gguf")
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    (fault,) = find_faults(ModelFile(path))
    assert fault == f"{path}: GGUF files need the package gguf, which is not installed: pip install '.[gguf]'"
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    (fault,) = find_faults(ModelFile(path))
    assert fault.endswith("pip install 'sd-api-server[gguf]'")


def test_scaled_fp8_weights_are_what_they_were_before_scaling(tmp_path: Path) -> None:
    weight, scale = torch.tensor([[1.0, -2.0], [0.5, 4.0]]), torch.tensor(8.0)
    path = tmp_path / "model.safetensors"
    tensors = {
        "layer.weight": weight.to(torch.float8_e4m3fn),
        "layer.scale_weight": scale,
        "layer.scale_input": torch.ones(()),
        "scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn),
    }
    save_file(tensors, path)
    read = WeightFile(path).tensors()
    assert read.keys() == {"layer.weight"}
    assert torch.equal(read["layer.weight"].float(), weight * scale)


def test_the_step_of_training_in_a_pickle_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": WEIGHTS, "global_step": 875000, "epoch": 2.5}, path)
    assert convert(path, tmp_path / "converted.safetensors") == {}
    assert read_header(tmp_path / "converted.safetensors").metadata == {"format": "pt", "global_step": "875000"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    from tiny_model import tiny_model

    return shutil.copytree(tiny_model(), tmp_path / "model")


def test_metadata_is_read_from_headers(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path, {"modelspec.title": "A title"})
    assert read_header(path).metadata == {"modelspec.title": "A title"}
    assert read_header(write_gguf(tmp_path / "model.gguf")).metadata["general.architecture"] == "flux"
