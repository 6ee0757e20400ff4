"""Weights in fewer bits: stored smaller, drawn nearly the same, and refused where that cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from pictures import from_png
from requested import request
from running import generate
from tiny_pipelines import write_pipeline

from sd_api.errors import ModelUnavailable
from sd_api.models.backends import quantized
from sd_api.models.backends.quantized import require_quantizer
from sd_api.settings import Settings
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


@pytest.mark.parametrize(
    ("quantization", "kind", "single_file", "words"),
    [
        ("fp8", "mps", False, "Apple"),
        ("nf4", "cpu", False, "graphics card"),
        ("nf4", "cuda", True, "single file"),
        ("int8", "cuda", False, r'needs torchao: pip install "sd-api-server\[quantize\]"'),
        ("nf4", "cuda", False, "needs bitsandbytes"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(
    quantization: str, kind: str, single_file: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda _name: None)
    with pytest.raises(ModelUnavailable, match=words):
        require_quantizer(quantization, kind, single_file=single_file)
    require_quantizer("auto", kind, single_file=single_file)
