"""A model's files: every way of being broken is found, without loading anything."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import tiny_model

from sd_api.models.files import find_faults, find_source_faults
from sd_api.models.sources import HubModel, ModelDirectory, ModelFile

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
WEB_PAGE = b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, to be damaged."""
    return shutil.copytree(tiny_model(), tmp_path / "model")


def faults(directory: Path) -> list[str]:
    """The faults, with paths relative to the model."""
    found = find_faults(ModelDirectory(directory))
    assert all(fault.startswith(str(directory)) and "\n" not in fault for fault in found)
    return [fault.removeprefix(f"{directory}{os.sep}").replace(os.sep, "/") for fault in found]


def cut(file: Path, length: int) -> None:
    os.truncate(file, length)


def save_pickled(safetensors: Path, suffix: str, *, legacy: bool = False) -> Path:
    """Replace a safetensors file by the same weights as torch.save writes them."""
    pickled = safetensors.with_suffix(suffix)
    torch.save(load_file(safetensors), pickled, _use_new_zipfile_serialization=not legacy)
    safetensors.unlink()
    return pickled


def test_a_sound_model_has_no_faults(model: Path) -> None:
    assert faults(model) == []
    assert find_faults(ModelFile(model / UNET)) == []
    assert find_source_faults(str(model)) == []


def test_a_model_on_the_hub_is_not_looked_at() -> None:
    assert find_faults(HubModel("organization/does-not-exist")) == []
    assert find_source_faults("organization/does-not-exist") == []


def test_a_name_that_means_nothing_is_a_fault(tmp_path: Path) -> None:
    (fault,) = find_source_faults(tmp_path / "nowhere")
    assert fault.startswith(f"the directory {tmp_path / 'nowhere'} does not exist")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model_index.json", b"{", "not valid JSON: line 1, column 2: Expecting property name"),
        ("model_index.json", b"[]", "it should hold a JSON object"),
        ("model_index.json", b"{}", "it names no pipeline, which _class_name should do"),
        ("model_index.json", LFS_POINTER, 'a Git LFS pointer instead of the file itself; run "git lfs pull"'),
        ("unet/config.json", b'{\n  "a": 1,\n}', "not valid JSON: line 3, column 1: "),
        ("unet/config.json", b"\xff{}", "not valid JSON: it is not UTF-8 text"),
        ("scheduler/scheduler_config.json", b"", "this file is empty"),
        ("tokenizer/tokenizer_config.json", WEB_PAGE, "a web page instead of the file itself"),
        ("tokenizer/tokenizer.json", b"{", "not valid JSON"),
        ("feature_extractor/preprocessor_config.json", b"null", "it should hold a JSON object"),
        (UNET, b"", "this file is empty; download it again"),
        (UNET, b"garbage, and enough of it", "cut short or damaged (header too large); download it again"),
        (UNET, WEB_PAGE, "a web page instead of the file itself; download it again"),
        (UNET, LFS_POINTER, "a Git LFS pointer instead of the file itself"),
    ],
)
def test_a_file_of_other_content(model: Path, name: str, content: bytes, expected: str) -> None:
    (model / name).write_bytes(content)
    (fault,) = faults(model)
    assert fault.startswith(f"{name}: {expected}")


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
        "feature_extractor/preprocessor_config.json",
    ],
)
def test_a_missing_file(model: Path, name: str) -> None:
    (model / name).unlink()
    assert faults(model) == [f"{name}: this file is missing"]


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker"])
def test_a_missing_component(model: Path, name: str) -> None:
    shutil.rmtree(model / name)
    assert faults(model) == [f"{name}: this folder is missing, and model_index.json lists it"]


def test_components_that_the_model_does_not_have_are_not_missed(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    index["safety_checker"] = index["feature_extractor"] = [None, None]
    index |= {"of_a_later_version": [10, 20], "another": {"a": 1}}
    (model / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    shutil.rmtree(model / "safety_checker")
    shutil.rmtree(model / "feature_extractor")
    assert faults(model) == []


def test_either_form_of_the_vocabulary_is_enough(model: Path) -> None:
    whole, vocabulary, merges = (model / "tokenizer" / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    whole.rename(model / "whole")
    assert faults(model) == []
    merges.unlink()
    assert faults(model) == ["tokenizer/merges.txt: this file is missing"]
    vocabulary.unlink()
    assert faults(model) == [f"tokenizer/{name}: this file is missing" for name in ("vocab.json", "merges.txt")]
    (model / "whole").rename(whole)
    assert faults(model) == []


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.model", "vocab.txt"])
def test_other_tokenizers_have_vocabularies_of_other_names(model: Path, name: str) -> None:
    for file in ("tokenizer.json", "vocab.json", "merges.txt"):
        (model / "tokenizer" / file).unlink()
    vocabulary = model / "tokenizer" / name
    vocabulary.write_bytes(b"words")
    assert faults(model) == []
    vocabulary.write_bytes(LFS_POINTER)
    (fault,) = faults(model)
    assert fault.startswith(f"tokenizer/{name}: a Git LFS pointer")


@pytest.mark.parametrize("missing", [1, 1000, 2_000_000])
def test_a_safetensors_file_cut_short(model: Path, missing: int) -> None:
    cut(model / UNET, (model / UNET).stat().st_size - missing)
    expected = "cut short or damaged (incomplete metadata, file not fully covered); download it again"
    assert faults(model) == [f"{UNET}: {expected}"]
    assert find_faults(ModelFile(model / UNET)) == [f"{model / UNET}: {expected}"]


def test_a_safetensors_file_cut_short_in_its_header(model: Path) -> None:
    cut(model / UNET, 500)
    assert faults(model) == [f"{UNET}: cut short or damaged (invalid header length); download it again"]


def test_every_fault_is_found_at_once(model: Path) -> None:
    shutil.rmtree(model / "scheduler")
    (model / "unet" / "config.json").unlink()
    cut(model / "vae" / "diffusion_pytorch_model.safetensors", 10_000)
    (model / "text_encoder" / "model.safetensors").unlink()
    assert sorted(fault.split(":")[0] for fault in faults(model)) == [
        "scheduler",
        "text_encoder",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_missing_weights(model: Path) -> None:
    (model / UNET).unlink()
    assert faults(model) == ["unet: the weights are missing: there is neither a .safetensors nor a .bin file"]


def test_a_variant_is_enough_and_is_checked(model: Path) -> None:
    variant = (model / UNET).rename(model / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert faults(model) == []
    cut(variant, 10_000)
    assert faults(model)[0].startswith("unet/diffusion_pytorch_model.fp16.safetensors: cut short")


@pytest.mark.parametrize(
    "index_name",
    ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"],
)
def test_sharded_weights(model: Path, index_name: str) -> None:
    unet, shards = (
        model / "unet",
        [f"diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)],
    )
    for shard in shards:
        shutil.copy(model / UNET, unet / shard)
    (model / UNET).unlink()
    index = unet / index_name
    index.write_text(
        json.dumps({"metadata": {}, "weight_map": dict(zip("abc", [*shards, shards[0]], strict=True))}),
        encoding="utf-8",
    )
    assert faults(model) == []
    (unet / shards[1]).unlink()
    cut(unet / shards[0], 10_000)
    missing, damaged = faults(model)
    assert missing == f"unet/{shards[1]}: this file is missing, and {index_name} lists it"
    assert damaged.startswith(f"unet/{shards[0]}: cut short")
    index.write_text("{}", encoding="utf-8")
    assert faults(model)[0] == f"unet/{index_name}: it lists no files, which weight_map and metadata should do"
    index.write_text("{", encoding="utf-8")
    assert faults(model)[0].startswith(f"unet/{index_name}: not valid JSON")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_weights_are_allowed(model: Path, caplog: pytest.LogCaptureFixture, legacy: bool) -> None:
    caplog.set_level("INFO")
    pickled = save_pickled(model / UNET, ".bin", legacy=legacy)
    assert faults(model) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{pickled} holds pickled weights; only tensors are taken from it, code is refused"
    ]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_file(model: Path, legacy: bool) -> None:
    assert find_faults(ModelFile(save_pickled(model / UNET, ".ckpt", legacy=legacy))) == []


def test_pickled_weights_beside_safetensors_are_ignored(model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(WEB_PAGE)
    assert faults(model) == []


def test_a_checkpoint_file_cut_short(model: Path) -> None:
    file = save_pickled(model / UNET, ".ckpt")
    cut(file, file.stat().st_size - 100)
    assert find_faults(ModelFile(file)) == [f"{file}: cut short or damaged; download it again"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "this file is empty; download it again"),
        (WEB_PAGE, "a web page instead of the file itself; download it again"),
        (b"\x80\x04\x95 a pickle, but not of torch", "not a file of PyTorch weights"),
    ],
)
def test_a_checkpoint_file_of_other_content(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(content)
    assert find_faults(ModelFile(file)) == [f"{file}: {expected}"]


def test_a_zip_archive_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.safetensors", b"weights")
    assert find_faults(ModelFile(file)) == [f"{file}: a zip archive of something else than weights"]


def test_no_pickle_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    file = tmp_path / "model.ckpt"
    torch.save({"state_dict": Trap()}, file)
    # Whether it holds code is for the loader to see; here it is a PyTorch file.
    assert find_faults(ModelFile(file)) == []
    assert not (tmp_path / "sprung").exists()


def test_a_link_to_nothing_is_a_missing_file(model: Path) -> None:
    (model / UNET).unlink()
    (model / UNET).symlink_to("gone")
    assert faults(model) == [f"{UNET}: this file is missing"]


def test_a_folder_in_a_files_place(model: Path) -> None:
    (model / "unet" / "config.json").unlink()
    (model / "unet" / "config.json").mkdir()
    assert faults(model) == ["unet/config.json: it cannot be read: Is a directory"]


def test_checking_does_not_import_torch(repository: Path) -> None:
    code = (
        "import sys; from sd_api.models.files import find_source_faults; "
        f"print(find_source_faults({str(tiny_model())!r})); "
        "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\nset()\n"
