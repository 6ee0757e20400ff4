"""The built-in model is a Stable Diffusion 1.x directory like the published ones, only small."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LMSDiscreteScheduler, StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from sd_api.models.sources import BUILTIN_MODEL

BEGIN, END = 512, 513
BYTES = list(bytes_to_unicode())


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
    values = {"num_inference_steps": 4, "width": 64, "height": 64} | arguments
    images = pipeline(prompt, generator=torch.Generator().manual_seed(seed), **values).images
    return np.asarray(images[0], dtype=int)


def test_it_loads_in_one_precision_with_every_component(pipeline: Any) -> None:
    missing = [name for name, part in pipeline.components.items() if part is None]
    assert missing == ["image_encoder"]
    models = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {parameter.dtype for model in models for parameter in model.parameters()} == {torch.float32}
    assert pipeline.vae_scale_factor == 8


def test_the_text_encoder_and_the_tokenizer_have_the_same_ids(pipeline: Any) -> None:
    tokenizer, config = pipeline.tokenizer, pipeline.text_encoder.config
    assert config.vocab_size == len(tokenizer) == END + 1
    assert config.bos_token_id == tokenizer.bos_token_id == BEGIN
    assert config.eos_token_id == config.pad_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == END
    assert config.max_position_embeddings == tokenizer.model_max_length == 77


def test_the_scheduler_has_the_published_values(pipeline: Any) -> None:
    published = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "skip_prk_steps": True,
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
    }
    assert published.items() <= dict(pipeline.scheduler.config).items()
    # Left out of the configuration, clipping would be on here, and the picture grey.
    assert not DDIMScheduler.from_config(pipeline.scheduler.config).config.clip_sample


@given(st.text())
def test_any_text_tokenizes_to_its_bytes(pipeline: Any, text: str) -> None:
    begin, *inner, end = pipeline.tokenizer(text).input_ids
    assert (begin, end) == (BEGIN, END)
    # The unknown token is the end token, which has no byte.
    assert all(token < BEGIN for token in inner)
    normalized = pipeline.tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert bytes(BYTES[token % 256] for token in inner).decode() == normalized.replace(" ", "")


def test_the_end_of_a_word_is_another_token_than_its_inside(pipeline: Any) -> None:
    assert pipeline.tokenizer.tokenize("A cat, 7.") == ["a</w>", "c", "a", "t</w>", ",</w>", "7</w>", ".</w>"]
    assert pipeline.tokenizer.decode(pipeline.tokenizer("A 🐶!").input_ids, skip_special_tokens=True) == "a 🐶!"


@pytest.mark.parametrize("absent", [("tokenizer.json",), ("vocab.json", "merges.txt")])
def test_each_form_of_the_tokenizers_files_is_enough(pipeline: Any, tmp_path: Path, absent: tuple[str, ...]) -> None:
    shutil.copytree(BUILTIN_MODEL / "tokenizer", tmp_path, dirs_exist_ok=True)
    for name in absent:
        (tmp_path / name).unlink()
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    text = "Two dögs 🐶🐶, playing <|endoftext|> chess's"
    arguments = {"padding": "max_length", "truncation": True}
    assert tokenizer(text, **arguments).input_ids == pipeline.tokenizer(text, **arguments).input_ids


def test_the_same_request_gives_the_same_picture(pipeline: Any) -> None:
    assert (draw(pipeline) == draw(pipeline)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"prompt": "a green apple"},
        {"guidance_scale": 3},
        {"negative_prompt": "blurred"},
        {"num_inference_steps": 6},
    ],
)
def test_whatever_the_request_changes_changes_the_picture(pipeline: Any, change: dict[str, Any]) -> None:
    assert np.abs(draw(pipeline) - draw(pipeline, **change)).mean() > 3


@pytest.mark.parametrize("prompt", ["a red apple", "sunset over the sea", ""])
def test_pictures_are_neither_flat_nor_saturated(pipeline: Any, prompt: str) -> None:
    picture = draw(pipeline, prompt, width=256, height=128)
    assert picture.shape == (128, 256, 3)
    assert picture.std() > 15
    assert ((picture == 0) | (picture == 255)).mean() < 0.1
    # Colours, not shades of grey.
    assert np.ptp(picture, axis=2).mean() > 15


def test_a_picture_depends_little_on_its_batch(pipeline: Any) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    together = pipeline(["a red apple"] * 3, num_inference_steps=4, width=64, height=64, generator=generators).images
    for seed, image in enumerate(together, start=1):
        assert np.abs(np.asarray(image, dtype=int) - draw(pipeline, seed=seed)).max() <= 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, of k-lms
@pytest.mark.parametrize("scheduler", [DDIMScheduler, LMSDiscreteScheduler])
def test_the_other_schedulers_draw_too(scheduler: Any) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    assert draw(pipeline, num_inference_steps=8).std() > 15


def test_no_picture_is_flagged(pipeline: Any) -> None:
    result = pipeline("a red apple", num_inference_steps=2, width=64, height=64, num_images_per_prompt=3)
    assert result.nsfw_content_detected == [False] * 3
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    pictures = [*map(Image.fromarray, noise), Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), "white")]
    pixels = pipeline.feature_extractor(pictures, return_tensors="pt").pixel_values
    _, flagged = pipeline.safety_checker(images=np.zeros((10, 8, 8, 3)), clip_input=pixels)
    assert flagged == [False] * 10


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in BUILTIN_MODEL.rglob("*")) < 4_000_000
