"""The built-in model is a Stable Diffusion 1.x directory like the published ones, only small."""

import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from sd_api.models.decoding import decode
from sd_api.models.device import choose_device
from sd_api.models.loader import load_pipeline
from sd_api.models.sources import BUILTIN_MODEL, ModelDirectory
from sd_api.settings import Limits
from tools.builtin_model.things import COLOURS, THINGS

BYTES = {symbol: byte for byte, symbol in bytes_to_unicode().items()}
SMALL = {"width": 64, "height": 64, "num_inference_steps": 4}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As fast as several for pictures this small; several wait for each other where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """The model, loaded in the plainest way while every network connection is refused."""

    def refuse(*_: object) -> None:
        raise AssertionError("loading the built-in model needs the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        loaded = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(pipeline: Any, prompt: str = "a red apple", seed: int = 1, **arguments: Any) -> np.ndarray:
    images = pipeline(prompt, generator=torch.Generator().manual_seed(seed), **SMALL | arguments).images
    return np.asarray(images[0], dtype=int)


def test_it_loads_in_one_precision_with_every_component(pipeline: Any) -> None:
    missing = [name for name, part in pipeline.components.items() if part is None]
    assert missing == ["image_encoder"]
    models = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {parameter.dtype for model in models for parameter in model.parameters()} == {torch.float32}


def test_its_files_are_in_half_precision_and_small() -> None:
    files = list(BUILTIN_MODEL.rglob("*.safetensors"))
    assert len(files) == 4
    for file in files:
        with safe_open(file, "pt") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118
    assert sum(file.stat().st_size for file in BUILTIN_MODEL.rglob("*")) <= 40_000_000


def test_its_card_names_the_data_and_everything_that_it_can_draw() -> None:
    card = (BUILTIN_MODEL / "README.md").read_text(encoding="utf-8")
    assert [name for name in ("MIT", "@iconify-json/fluent-emoji-flat", *THINGS, *COLOURS) if name not in card] == []


def test_the_text_encoder_and_the_tokenizer_have_the_same_ids(pipeline: Any) -> None:
    tokenizer, config = pipeline.tokenizer, pipeline.text_encoder.config
    assert config.vocab_size == len(tokenizer)
    assert config.bos_token_id == tokenizer.bos_token_id == len(tokenizer) - 2
    assert config.eos_token_id == config.pad_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id
    assert config.max_position_embeddings == tokenizer.model_max_length == 77


def test_the_scheduler_is_the_published_one_for_velocity(pipeline: Any) -> None:
    expected = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "skip_prk_steps": True,
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
        "prediction_type": "v_prediction",
    }
    assert expected.items() <= dict(pipeline.scheduler.config).items()
    # Left out of the configuration, clipping would be on here, and the picture grey.
    assert not DDIMScheduler.from_config(pipeline.scheduler.config).config.clip_sample


@given(st.text())
def test_any_text_tokenizes_to_its_bytes(pipeline: Any, text: str) -> None:
    tokenizer = pipeline.tokenizer
    begin, *inner, end = tokenizer(text).input_ids
    assert (begin, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    # The unknown token is the end token, which has no byte.
    assert all(token < begin for token in inner)
    symbols = "".join(tokenizer.convert_ids_to_tokens(inner)).replace("</w>", "")
    normalized = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert bytes(BYTES[symbol] for symbol in symbols).decode() == normalized.replace(" ", "")


@pytest.mark.parametrize("words", [THINGS, COLOURS])
def test_what_it_knows_is_one_token_a_word(pipeline: Any, words: dict[str, object]) -> None:
    assert [pipeline.tokenizer.tokenize(word) for word in words] == [
        [f"{part}</w>" for part in word.split()] for word in words
    ]


@pytest.mark.parametrize("absent", [("tokenizer.json",), ("vocab.json", "merges.txt")])
def test_each_form_of_the_tokenizers_files_is_enough(pipeline: Any, tmp_path: Path, absent: tuple[str, ...]) -> None:
    shutil.copytree(BUILTIN_MODEL / "tokenizer", tmp_path, dirs_exist_ok=True)
    for name in absent:
        (tmp_path / name).unlink()
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    text = "Two dögs 🐶🐶, playing <|endoftext|> chess's doughnut"
    arguments = {"padding": "max_length", "truncation": True}
    assert tokenizer(text, **arguments).input_ids == pipeline.tokenizer(text, **arguments).input_ids


def test_every_start_gives_the_same_picture(pipeline: Any) -> None:
    here = hashlib.sha256(draw(pipeline).tobytes()).hexdigest()
    script = (
        "import hashlib, numpy, torch; from diffusers import StableDiffusionPipeline; torch.set_num_threads(1); "
        f"p = StableDiffusionPipeline.from_pretrained({str(BUILTIN_MODEL)!r}); p.set_progress_bar_config(disable=True);"
        f"i = p('a red apple', generator=torch.Generator().manual_seed(1), **{SMALL!r}).images[0]; "
        "print(hashlib.sha256(numpy.asarray(i, dtype=int).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert other.strip() == here


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"prompt": "a green pear"},
        {"guidance_scale": 3},
        {"negative_prompt": "blue background"},
        {"num_inference_steps": 6},
    ],
)
def test_whatever_the_request_changes_changes_the_picture(pipeline: Any, change: dict[str, Any]) -> None:
    assert np.abs(draw(pipeline) - draw(pipeline, **change)).mean() > 1


def test_a_picture_depends_little_on_its_batch(pipeline: Any) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    together = pipeline(["a red apple"] * 3, generator=generators, **SMALL).images
    for seed, image in enumerate(together, start=1):
        assert np.abs(np.asarray(image, dtype=int) - draw(pipeline, seed=seed)).max() <= 1


def test_neither_noise_nor_plain_pictures_are_flagged(pipeline: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    pictures = [*map(Image.fromarray, noise), *(Image.new("RGB", (64, 64), colour) for colour in COLOURS)]
    pixels = pipeline.feature_extractor(pictures, return_tensors="pt").pixel_values
    _, flagged = pipeline.safety_checker(images=np.zeros((len(pictures), 8, 8, 3)), clip_input=pixels)
    assert not any(flagged)


def test_decoding_in_tiles_gives_about_the_same_picture() -> None:
    vae = load_pipeline(ModelDirectory(BUILTIN_MODEL), choose_device("cpu", "fp32"), None, Limits()).vae
    latents = torch.randn(1, 4, 48, 40, generator=torch.Generator().manual_seed(0)) * 0.5
    with torch.inference_mode():
        whole = decode(vae, latents * vae.config.scaling_factor, [])
        tiled = decode(vae, latents * vae.config.scaling_factor, [], tile=256)
    assert tiled.shape == whole.shape == (1, 3, 768, 640)
    assert (tiled - whole).abs().mean() < 0.02
