"""Single-file checkpoints: a real model, made small and written in the original layout, loads as itself."""

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from huggingface_hub import constants
from original_layout import to_original_layout
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_pipelines import write_pipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sd_api.errors import ModelUnavailable
from sd_api.models import architectures
from sd_api.models.checkpoint_config import fetch_config
from sd_api.models.checkpoint_file import load_checkpoint
from sd_api.models.opened_checkpoint import open_checkpoint
from sd_api.models.precision import Precision
from sd_api.models.sources import SD1_CONFIG

SIDE = 64


def make_pipeline(unet_channels: int = 4, text_width: int = 32, vocabulary: int = 49408) -> Any:
    """A Stable Diffusion 1.x model of the real classes, two levels deep."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=unet_channels,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=text_width,
        norm_num_groups=8,
        sample_size=32,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
    )
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=text_width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    pipeline_class = StableDiffusionPipeline if unet_channels == 4 else StableDiffusionInpaintPipeline
    return pipeline_class(
        unet=unet.eval(),
        vae=vae.eval(),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(SD1_CONFIG / "tokenizer"),
        scheduler=PNDMScheduler.from_pretrained(SD1_CONFIG / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that somebody tried to reach; there is no network."""
    tried: list[str] = []

    def refuse(host: str, *_: object, **__: object) -> None:
        tried.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "diffusers"
    make_pipeline().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(directory: Path) -> Path:
    path = directory.with_name("model.safetensors")
    save_file(to_original_layout(make_pipeline()), path)
    return path


def run(pipeline: Any, **arguments: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    result = pipeline("a photo of a cat", num_inference_steps=2, generator=generator, output_type="np", **arguments)
    pixels: np.ndarray = result.images[0]
    assert pixels.std() > 0.01
    return pixels


def load(path: Path, config: Path | None, dtype: torch.dtype = torch.float32, *, only_checked: bool = False) -> Any:
    """Load a file as if the configuration in a directory was the one that is shipped."""
    with pytest.MonkeyPatch.context() as patched:
        if config is not None:
            tiny = dataclasses.replace(architectures.ARCHITECTURES["v1"], config=config)
            for kind in ("v1", "inpainting"):
                patched.setitem(architectures.ARCHITECTURES, kind, tiny)
        checkpoint = open_checkpoint(path, None, lambda architecture: fetch_config(path, architecture, None))
        return load_checkpoint(checkpoint, Precision(dtype, only_checked=only_checked), {})


def rewrite(checkpoint: Path, path: Path, change: Callable[[str], str | None]) -> Path:
    """A copy with other names; None leaves a tensor out."""
    named = {change(name): tensor for name, tensor in load_file(checkpoint).items()}
    save_file({name: tensor for name, tensor in named.items() if name}, path)
    return path


def test_both_formats_give_the_same_pixels_as_the_directory(
    directory: Path, checkpoint: Path, tmp_path: Path, attempts: list[str]
) -> None:
    pickled = tmp_path / "model.ckpt"
    torch.save({"state_dict": load_file(checkpoint), "global_step": 470000}, pickled)
    expected = run(StableDiffusionPipeline.from_pretrained(directory))
    for path in (checkpoint, pickled):
        np.testing.assert_array_equal(run(load(path, directory)), expected)
    assert attempts == []


def test_the_pipeline_has_no_filter_and_schedulers_made_from_its_own_do_not_clip(
    directory: Path, checkpoint: Path
) -> None:
    pipeline = load(checkpoint, directory)
    assert pipeline.safety_checker is None
    assert pipeline.feature_extractor is None
    assert pipeline.config.requires_safety_checker is False
    assert DDIMScheduler.from_config(pipeline.scheduler.config).config.clip_sample is False


@pytest.mark.parametrize("stored", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float16, torch.float32])
def test_weights_become_the_wanted_type(
    directory: Path, checkpoint: Path, tmp_path: Path, stored: torch.dtype, wanted: torch.dtype
) -> None:
    path = tmp_path / "model.safetensors"
    weights = load_file(checkpoint).items()
    save_file({name: tensor.to(stored) if tensor.is_floating_point() else tensor for name, tensor in weights}, path)
    pipeline = load(path, directory, wanted)
    original = StableDiffusionPipeline.from_pretrained(directory)
    for part in ("unet", "vae", "text_encoder"):
        expected = getattr(original, part).state_dict()
        loaded = getattr(pipeline, part).state_dict()
        assert loaded.keys() == expected.keys()
        for name, tensor in loaded.items():
            assert torch.equal(tensor, expected[name].to(stored).to(wanted)), name


def test_an_inpainting_checkpoint_becomes_an_inpainting_pipeline(directory: Path, tmp_path: Path) -> None:
    original = make_pipeline(unet_channels=9)
    path = tmp_path / "inpainting.safetensors"
    save_file(to_original_layout(original), path)
    pipeline = load(path, directory)
    assert isinstance(pipeline, StableDiffusionInpaintPipeline)
    assert pipeline.unet.config.in_channels == 9
    arguments = {
        "image": Image.new("RGB", (SIDE, SIDE), (200, 30, 90)),
        "mask_image": Image.new("L", (SIDE, SIDE), 255),
    }
    np.testing.assert_array_equal(run(pipeline, **arguments), run(original, **arguments))


def test_the_short_names_of_some_merging_tools_are_understood(
    directory: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = rewrite(checkpoint, tmp_path / "merged.safetensors", lambda name: name.replace(".text_model.", "."))
    short = load(path, directory).text_encoder.state_dict()
    for name, tensor in load(checkpoint, directory).text_encoder.state_dict().items():
        assert torch.equal(short[name], tensor), name


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"),
        ("vae", "first_stage_model.decoder.conv_in.bias"),
        ("text_encoder", "cond_stage_model.transformer.text_model.final_layer_norm.weight"),
    ],
)
def test_one_missing_tensor_is_noticed(directory: Path, checkpoint: Path, tmp_path: Path, part: str, name: str) -> None:
    path = rewrite(checkpoint, tmp_path / "model.safetensors", lambda other: None if other == name else other)
    for only_checked in (False, True):
        with pytest.raises(ModelUnavailable, match=f"incomplete: weights of its {part} are missing"):
            load(path, directory, only_checked=only_checked)


def test_another_shape_is_distinguished_from_stable_diffusion_1(checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"Stable Diffusion 1\.x, but its \w+ is of another"):
        load(checkpoint, None)


def test_other_architectures_need_the_hub_once(
    tmp_path: Path, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flux.safetensors"
    save_file({"double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(2)}, path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path / "hub")
    reason = r"is a FLUX\.1 schnell model, which needs .* once.*cannot be reached"
    with pytest.raises(ModelUnavailable, match=reason):
        load(path, None)
    assert attempts

    repository = tmp_path / "hub" / "models--black-forest-labs--FLUX.1-schnell"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(snapshot.name)
    snapshot.mkdir(parents=True)
    with pytest.raises(ModelUnavailable, match="needs the small configuration files"):
        load(path, None)

    attempts.clear()
    write_pipeline("flux", snapshot)
    with pytest.raises(ModelUnavailable, match=r"lacks the text encoder and the text_encoder_2 and the VAE.*\"base\""):
        load(path, None)
    assert attempts == []
