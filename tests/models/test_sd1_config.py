"""The shipped configuration is that of the published Stable Diffusion 1.5."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sd_api.models.sources import SD1_CONFIG


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(SD1_CONFIG / "tokenizer")


def test_the_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(SD1_CONFIG / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(SD1_CONFIG / "vae"))
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(SD1_CONFIG / "text_encoder"))
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in (unet, vae, text_encoder)]
    assert sizes == [859_520_964, 83_653_863, 123_060_480]
    assert vae.config.scaling_factor == 0.18215
    assert text_encoder.config.hidden_act == "quick_gelu"


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("merges.txt", "76e821f1b6f0a9709293c3b6b51ed90980b3166b"),
        ("vocab.json", "182766ce89b439768edadda342519f33802f5364"),
    ],
)
def test_the_vocabulary_is_the_published_one_to_the_byte(name: str, published: str) -> None:
    # Git's own name for a file's content; read as text because a checkout may change the line ends.
    content = (SD1_CONFIG / "tokenizer" / name).read_text(encoding="utf-8").encode()
    assert hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == published


def test_text_becomes_the_tokens_that_the_model_was_trained_with(tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer) == 49408
    assert tokenizer("A photo of  a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    padded = tokenizer("cat", padding="max_length").input_ids
    assert padded == [49406, 2368] + [49407] * 75
    assert tokenizer.decode(tokenizer("naïve 🎉").input_ids, skip_special_tokens=True) == "naïve 🎉"


def test_schedulers_made_from_the_published_one_do_not_clip_latents() -> None:
    scheduler = PNDMScheduler.from_pretrained(SD1_CONFIG / "scheduler")
    assert scheduler.config.skip_prk_steps is True
    assert scheduler.config.steps_offset == 1
    assert DDIMScheduler.from_config(scheduler.config).config.clip_sample is False


def test_the_files_are_part_of_the_package(tmp_path: Path, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["sd_api.models"]
    packaged = {file for pattern in patterns for file in SD1_CONFIG.parent.glob(pattern)}
    assert {file for file in SD1_CONFIG.rglob("*") if file.is_file()} <= packaged
