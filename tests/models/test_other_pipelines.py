"""Models of other architectures are found whole, chosen for download, and loaded in the precision that is wanted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import PIPELINES, weights, write_pipeline

from sd_api.models.converted import find_copy, is_worth_copying
from sd_api.models.device import choose_device
from sd_api.models.files import find_faults
from sd_api.models.loader import load_pipeline
from sd_api.models.pipeline_files import needed_files
from sd_api.models.sharing import pipeline_of
from sd_api.models.sources import ModelDirectory
from sd_api.settings import Limits


def modules(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def load(path: Path, dtype: str = "fp32") -> Any:
    return load_pipeline(ModelDirectory(path), choose_device("cpu", dtype), None, Limits())


@pytest.fixture(params=PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_that_was_saved_is_needed_and_nothing_is_missed(name: str, tmp_path: Path) -> None:
    path = write_pipeline(name, tmp_path / "model")
    index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
    # How texts are written is of no use for a picture.
    unused = "generation_config.json"
    saved = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name != unused]
    for half in (False, True):
        assert sorted(["model_index.json", *needed_files(index, saved, half=half)]) == sorted(saved)
    assert find_faults(ModelDirectory(path)) == []
    for folder in {file.rpartition("/")[0] for file in saved if file.endswith(".safetensors")}:
        (path / folder / "config.json").unlink()
        (fault,) = find_faults(ModelDirectory(path))
        assert fault.startswith(str(path / folder / "config.json"))
        (path / folder / "config.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_weights_are_those_that_were_saved(name: str, dtype: str, tmp_path: Path) -> None:
    path = write_pipeline(name, tmp_path / "model")
    loaded = load(path, dtype)
    wanted = choose_device("cpu", dtype).torch_dtype
    for part, module in modules(loaded).items():
        original = weights(name).components[part].state_dict()
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                # What the libraries keep in full precision, and T5's own exception.
                kept = any(name in key for name in getattr(module, "_keep_in_fp32_modules", None) or ())
                kept = kept or (key.endswith(".wo.weight") and dtype == "fp16")
                assert tensor.dtype in ((wanted, torch.float32) if kept else (wanted,))
            assert torch.equal(tensor, original[key].to(tensor.dtype))


def test_parts_in_half_precision_beside_others_are_found(tmp_path: Path) -> None:
    """As a download in half precision leaves them: what was published so, and the rest in full."""
    path = write_pipeline("stable diffusion 3", tmp_path / "model")
    for folder in ("text_encoder", "text_encoder_3"):
        (path / folder / "model.safetensors").rename(path / folder / "model.fp16.safetensors")
    for dtype in ("fp32", "fp16"):
        assert modules(load(path, dtype)).keys() == modules(weights("stable diffusion 3")).keys()


def test_weights_in_several_files_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model"
    weights("flux").save_pretrained(path, max_shard_size="50KB")
    assert len(list((path / "transformer").glob("*-of-*.safetensors"))) > 1
    assert find_faults(ModelDirectory(path)) == []
    saved = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
    assert sorted(["model_index.json", *needed_files(index, saved, half=True)]) == sorted(saved)
    transformer = load(path).transformer.state_dict()
    assert all(
        torch.equal(tensor, transformer[key]) for key, tensor in weights("flux").transformer.state_dict().items()
    )


def test_only_models_with_a_unet_have_converted_copies(name: str, tmp_path: Path) -> None:
    path = write_pipeline(name, tmp_path / "model")
    assert find_copy(path, torch.bfloat16) is None
    assert is_worth_copying(path, torch.bfloat16) == (name == "latent consistency")


def test_pipelines_share_modules_without_converting_them() -> None:
    loaded = weights("latent consistency")
    loaded.unet.to(torch.bfloat16)
    try:
        shared = pipeline_of(type(loaded), loaded, scheduler=None)
        assert shared.unet is loaded.unet
        assert shared.unet.dtype == torch.bfloat16
        assert shared.scheduler is None
        assert loaded.scheduler is not None
    finally:
        weights.cache_clear()
