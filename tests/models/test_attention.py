"""Which kernel computes attention: chosen before loading, said, and what diffusers' own way of naming it gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend
from pictures import from_png
from requested import request
from running import generate
from tiny_pipelines import PIPELINES, weights, write_pipeline

from sd_api.errors import ModelUnavailable
from sd_api.models.attention import choose_attention
from sd_api.models.check import look_further
from sd_api.models.device import DeviceChoice
from sd_api.models.families.registry import family_of
from sd_api.models.families.transformer import TransformerFamily
from sd_api.settings import Settings
from sd_api.wiring import build_engine


def device(name: str = "cuda", dtype: str = "bf16") -> DeviceChoice:
    return DeviceChoice(torch.device(name), "", dtype, "")


def kernels_of(pipeline: Any) -> set[Any]:
    processors: list[Any] = [getattr(module, "processor", None) for module in pipeline.transformer.modules()]
    return {each._attention_backend for each in processors if hasattr(each, "_attention_backend")}


@pytest.mark.parametrize("name", [name for name in PIPELINES if name not in ("lcm", "flux fill", "flux kontext")])
def test_a_family_says_how_its_transformer_asks_for_attention(name: str) -> None:
    pipeline = weights(name)
    family = family_of(pipeline)
    if isinstance(family, TransformerFamily):
        assert bool(kernels_of(pipeline)) == (family.attention != "own")


def test_a_configured_kernel_computes_as_in_diffusers(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    path = str(write_pipeline("flux", tmp_path / "flux"))
    own = {"attention": "_native_math"}
    settings = make_settings(device="cpu", model=path, model_settings=own, requires_safety_checker=False, dtype="fp32")
    assert "_native_math attention: " in look_further(settings).plans[0]
    engine: Any = build_engine(settings)
    engine.load()
    (image,) = generate(engine, request(steps=2, guidance=3.5)).images
    (model,) = engine.status().models
    assert model.plan.endswith(", _native_math attention")
    assert '"attention": "_native_math" is configured' in model.reasons
    assert kernels_of(engine._library.get(None).parts.pipeline) == {AttentionBackendName._NATIVE_MATH}
    # Those of other models stay as they are.
    assert attention_backend_of_all() == AttentionBackendName.NATIVE
    with attention_backend("_native_math"):
        pipeline = FluxPipeline.from_pretrained(path)
        pipeline.set_progress_bar_config(disable=True)
        expected = pipeline(
            request(steps=2).operation.prompt,
            num_inference_steps=2,
            guidance_scale=3.5,
            width=64,
            height=64,
            generator=torch.Generator().manual_seed(7),
        ).images[0]
    assert np.array_equal(np.asarray(from_png(image.png)), np.asarray(expected))


def attention_backend_of_all() -> Any:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return _AttentionBackendRegistry.get_active_backend()[0]


@pytest.mark.parametrize(
    ("wish", "asked", "where", "reason"),
    [
        (
            "_native_math",
            "own",
            device("cpu", "fp32"),
            "this model calls torch's attention itself. Valid here are",
        ),
        ("flash", "masked", device(), "it takes no masks, and this model masks words"),
        ("sage", "dispatched", device("cpu"), "it does not run on cpu, but on cuda. Valid here are auto, native, _nat"),
        ("flash", "dispatched", device(dtype="fp32"), "it computes in fp16 and bf16 only, and this model runs in fp32"),
        ("sage", "dispatched", device(), "Please install `sageattention>="),
        ("xformers", "dispatched", device(), "Please install `xformers>="),
    ],
)
def test_a_kernel_that_cannot_be_had_is_refused_with_what_can(
    wish: str, asked: Any, where: DeviceChoice, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _device: (8, 6))
    with pytest.raises(ModelUnavailable) as refused:
        choose_attention(wish, asked, where)
    assert refused.value.message.startswith(f'"attention": "{wish}" is not possible: ')
    assert reason in refused.value.message


def test_only_an_exact_faster_kernel_that_is_installed_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda where: (9, 0) if where.index else (8, 6))
    assert choose_attention("auto", "dispatched", device("cuda:1"))[0] == "native"
    monkeypatch.setattr("diffusers.models.attention_dispatch._CAN_USE_FLASH_ATTN_3", True)
    assert choose_attention("auto", "dispatched", device("cuda:1"))[0] == "_flash_3"
    for asked, where in (
        ("masked", device("cuda:1")),
        ("own", device("cuda:1")),
        ("dispatched", device("cuda:0")),
        ("dispatched", device("cuda:1", "fp32")),
        ("dispatched", device("cpu")),
    ):
        assert choose_attention("auto", asked, where)[0] == "native"  # type: ignore[arg-type]
