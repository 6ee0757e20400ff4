"""The sizes of a model's components are read from headers, and are those that loading makes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_model import tiny_model
from tiny_pipelines import write_pipeline

from sd_api.models.file_sizes import folder_sizes, single_file_sizes, with_text_encoders
from sd_api.models.headers import read_header
from sd_api.models.model_sizes import ModelSizes
from sd_api.models.planned import sizes_of
from sd_api.models.sources import ModelDirectory


def loaded(pipeline: Any) -> dict[str, int]:
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    # Some tensors have several names.
    kept = {
        name: {id(tensor): tensor.nbytes for tensor in module.state_dict(keep_vars=True).values()}
        for name, module in modules.items()
    }
    return {name: sum(sizes.values()) for name, sizes in kept.items()}


def read(sizes: ModelSizes, dtype: str) -> dict[str, int]:
    return {part.name: part.loaded_bytes(dtype) for part in sizes.components}


@pytest.mark.parametrize("name", ["stable diffusion 3", "flux", "sana"])
def test_of_a_folder(name: str, tmp_path: Path) -> None:
    path = write_pipeline(name, tmp_path / name)
    sizes = folder_sizes(ModelDirectory(path), half=False)
    pipeline = DiffusionPipeline.from_pretrained(path, dtype=torch.float32)
    assert read(sizes, "fp32") == loaded(pipeline)
    config = pipeline.transformer.config
    assert sizes.denoiser.name == "transformer"
    assert sizes.denoiser.width == config.num_attention_heads * config.attention_head_dim
    assert sizes.denoiser.cell == (32 if pipeline.vae_scale_factor == 32 else 16)
    assert sizes_of(ModelDirectory(path), half=False).guided == (name != "flux")
    assert sizes.denoiser.largest == max(tensor.numel() for tensor in pipeline.transformer.state_dict().values())


def test_of_a_model_with_a_unet() -> None:
    sizes = folder_sizes(ModelDirectory(tiny_model()), half=True)
    unet = sizes.denoiser
    pipeline = DiffusionPipeline.from_pretrained(tiny_model())
    assert unet.is_unet
    assert unet.width == pipeline.unet.config.block_out_channels[0]
    assert unet.cell == pipeline.vae_scale_factor
    assert sizes.native == (pipeline.unet.config.sample_size * pipeline.vae_scale_factor,) * 2
    assert [part.name for part in sizes.stages[0]] == ["text_encoder"]
    whole = sum(part.elements for part in sizes.components)
    assert sum(read(sizes, "fp16").values()) == pytest.approx(2 * whole, rel=0.01)
    assert sizes.disk > 0


def test_of_a_single_file(single_file: str) -> None:
    sizes = single_file_sizes(read_header(Path(single_file)), "unet", half=False)
    expected = loaded(DiffusionPipeline.from_pretrained(tiny_model()))
    for name in ("unet", "vae"):
        part = next(part for part in sizes.components if part.name == name)
        assert part.loaded_bytes("fp32") == pytest.approx(expected[name], rel=0.01)
    assert {part.role for part in sizes.components} == {"denoiser", "autoencoder", "text"}


def test_text_encoders_that_are_given_are_counted(tmp_path: Path) -> None:
    path = write_pipeline("flux", tmp_path / "flux")
    whole = folder_sizes(ModelDirectory(path), half=False)
    clip, t5 = (path / name / "model.safetensors" for name in ("text_encoder", "text_encoder_2"))
    lacking = replace(whole, components=tuple(part for part in whole.components if part.role != "text"))
    found = with_text_encoders(lacking, [[each] for each in (t5, clip)], whole_names(whole))
    assert read(found, "fp32") == read(whole, "fp32")
    assert with_text_encoders(whole, [[t5]], whole_names(whole)) == whole, "it takes the place of its own"


def whole_names(sizes: ModelSizes) -> list[str]:
    """Of the text encoders, the smallest first."""
    return [part.name for part in reversed(sizes.by_size) if part.role == "text"]


def test_damaged_files_count_as_nothing(tmp_path: Path) -> None:
    path = write_pipeline("flux", tmp_path / "flux")
    (path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 100)
    (path / "transformer" / "config.json").write_text("{")
    sizes = folder_sizes(ModelDirectory(path), half=False)
    assert "vae" not in {part.name for part in sizes.components}
    assert sizes.denoiser.width > 0
