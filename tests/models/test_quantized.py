"""Weights in fewer bits: stored smaller, drawn nearly the same, and refused where that cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel, TorchAoConfig
from outcomes import outcome
from pictures import from_png
from requested import request
from running import generate
from tiny_pipelines import write_pipeline
from transformers import BitsAndBytesConfig, T5Config, T5EncoderModel

from sd_api.errors import ModelUnavailable
from sd_api.models.backends.quantized import require_quantizer
from sd_api.models.device import choose_device
from sd_api.models.loader import load_pipeline
from sd_api.models.part_loading import load_part
from sd_api.models.planned import plan_for
from sd_api.models.precision import Precision
from sd_api.models.sources import ModelDirectory
from sd_api.settings import Limits, ModelSettings, Settings
from sd_api.wiring import build_engine


def drawn(settings: Settings) -> tuple[np.ndarray, Any]:
    """A picture of the main model, and the model."""
    engine: Any = build_engine(settings)
    engine.load()
    assert engine.status().state == "ready", engine.status().message
    (image,) = generate(engine, request(steps=2)).images
    return np.asarray(from_png(image.png), dtype=float), engine._library.get(None)


def test_a_unet_is_stored_in_fp8_and_computes_as_diffusers_does(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(quantize="fp8")
    _, model = drawn(settings)
    own = model.parts.denoiser
    by_hand = DiffusionPipeline.from_pretrained(settings.model).unet
    whole = sum(tensor.nbytes for tensor in by_hand.parameters())
    by_hand.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert model.plan.quantization == "fp8"
    assert own.dtype == torch.float32
    assert own.size < 0.4 * whole
    sample, words = torch.ones(2, 4, 4, 4), torch.ones(2, 77, own.config.cross_attention_dim)
    with torch.inference_mode():
        expected = by_hand(sample, 500, encoder_hidden_states=words).sample
        assert torch.equal(own(sample, 500, encoder_hidden_states=words).sample, expected)


def test_a_transformer_is_quantized_while_it_is_loaded(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    path = str(write_pipeline("flux", tmp_path / "flux"))
    changes: dict[str, Any] = {"model": path, "dtype": "bf16", "requires_safety_checker": False}
    expected, _ = drawn(make_settings(**changes))
    picture, model = drawn(make_settings(**changes, quantize="int8"))
    assert model.plan.quantization == "int8"
    assert type(model.parts.denoiser.module.transformer_blocks[0].attn.to_q.weight) is not torch.nn.Parameter
    assert 0 < np.abs(picture - expected).mean() < 12


ASKED: dict[str, Any] = {"prompt": "a", "width": 64, "height": 64, "num_inference_steps": 2, "output_type": "np"}


def pixels(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(3)
    found: np.ndarray = pipeline(**ASKED, generator=generator).images
    return found


def test_int8_draws_what_diffusers_draws_with_the_same_weights(tmp_path: Path) -> None:
    """Quantized while it is loaded, and from a folder that was saved so."""
    quantization = pytest.importorskip("torchao.quantization")
    plain = write_pipeline("flux", tmp_path / "plain")
    config = TorchAoConfig(quantization.Int8WeightOnlyConfig(version=2))
    transformer = FluxTransformer2DModel.from_pretrained(
        plain / "transformer", quantization_config=config, torch_dtype=torch.float32
    )
    by_hand = FluxPipeline.from_pretrained(plain, transformer=transformer)
    expected = pixels(by_hand)
    assert not np.array_equal(expected, pixels(FluxPipeline.from_pretrained(plain)))
    device, own = choose_device("cpu", "fp32"), ModelSettings(quantize="int8")
    plan = plan_for(ModelDirectory(plain), own, Settings(), device)
    loaded = load_pipeline(ModelDirectory(plain), device, None, Limits(), own, plan)
    np.testing.assert_array_equal(pixels(loaded), expected)
    by_hand.save_pretrained(tmp_path / "saved")
    refusal, pipeline = outcome(tmp_path / "saved")
    assert refusal is None
    np.testing.assert_array_equal(pixels(pipeline), expected)


def test_a_text_encoder_in_8_bits_runs_without_a_graphics_card(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = write_pipeline("flux", tmp_path / "flux")
    config = BitsAndBytesConfig(load_in_8bit=True)
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder_2", quantization_config=config, dtype=torch.float32)
    expected = pixels(FluxPipeline.from_pretrained(folder, text_encoder_2=encoder))
    assert not np.array_equal(expected, pixels(FluxPipeline.from_pretrained(folder)))
    encoder.save_pretrained(folder / "text_encoder_2")
    refusal, pipeline = outcome(folder)
    assert refusal is None
    np.testing.assert_array_equal(pixels(pipeline), expected)


def test_a_text_encoder_in_4_bits_runs_without_a_graphics_card(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    # On processors bitsandbytes takes widths that are multiples of 64 alone.
    plain = T5EncoderModel(T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=1, num_heads=4, vocab_size=99)).eval()
    plain.save_pretrained(tmp_path / "plain")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    saved = T5EncoderModel.from_pretrained(tmp_path / "plain", quantization_config=config, dtype=torch.float32)
    saved.save_pretrained(tmp_path / "saved")
    loaded = load_part(tmp_path / "saved", "transformers", "T5EncoderModel", Precision(torch.float32))
    tokens = torch.arange(9)[None]
    with torch.inference_mode():
        exact, expected, found = (encoder(tokens).last_hidden_state for encoder in (plain, saved, loaded))
    assert torch.equal(found, expected)
    assert not torch.equal(found, exact)


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused only without a graphics card")
def test_a_transformer_of_bitsandbytes_needs_a_graphics_card(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = write_pipeline("flux", tmp_path / "flux")
    config = folder / "transformer" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    config.write_text(json.dumps(content), encoding="utf-8")
    refusal, _ = outcome(folder)
    assert refusal is not None
    assert "diffusers reads weights quantised by bitsandbytes on graphics cards only" in refusal


@pytest.mark.parametrize(
    ("quantization", "kind", "single_file", "words"),
    [
        ("fp8", "mps", False, "Apple"),
        ("nf4", "cpu", False, "graphics card"),
        ("nf4", "cuda", True, "single file"),
        ("int8", "cuda", False, r"need the package torchao, which is not installed: pip install '\.\[quantize\]'"),
        ("nf4", "cuda", False, "need the package bitsandbytes"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(
    quantization: str, kind: str, single_file: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd_api.models.extras.find_spec", lambda _name: None)
    with pytest.raises(ModelUnavailable, match=words):
        require_quantizer(quantization, kind, single_file=single_file)
    require_quantizer("auto", kind, single_file=single_file)
