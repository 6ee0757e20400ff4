"""What is compiled is used where it fits and is right, and changes nothing elsewhere."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoPipelineForText2Image, DDIMScheduler, LMSDiscreteScheduler, UNet2DConditionModel
from sd_api.models.compiled import CompiledUNet
from tiny_model import tiny_model

from sd_api.models import compiled as compiled_module
from sd_api.models.device import choose_device
from sd_api.models.library import ModelLibrary
from sd_api.settings import Settings

PROMPT = "a dog"


class Counted:
    """A stand-in for the compiler: what it returns is the function itself, counted, or something else."""

    def __init__(self, off_by: float = 0.0) -> None:
        self.calls = 0
        self._off_by = off_by

    def __call__(self, forward: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def compiled(*arguments: Any) -> Any:
            self.calls += 1
            return tuple(part * (1 + self._off_by) for part in forward(*arguments))

        return compiled


@pytest.fixture
def pipeline() -> Any:
    pipeline = AutoPipelineForText2Image.from_pretrained(tiny_model(), safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(torch, "compile", counted)
    return counted


def draw(pipeline: Any, size: int = 64, guidance_scale: float = 7.5, pictures: int = 1) -> torch.Tensor:
    with torch.inference_mode():
        latents: torch.Tensor = pipeline(
            PROMPT,
            num_inference_steps=2,
            width=size,
            height=size,
            guidance_scale=guidance_scale,
            num_images_per_prompt=pictures,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="latent",
        ).images
    return latents


def compile_now(pipeline: Any, *sizes: str) -> None:
    CompiledUNet(pipeline, sizes).compile_in_background().join()


def test_only_the_sizes_that_were_asked_for_are_compiled(pipeline: Any, compiler: Counted) -> None:
    compile_now(pipeline, "64x64", "128x64")
    assert compiler.calls == 2, "each is tried once before it is used"
    draw(pipeline)
    steps = compiler.calls - 2
    assert steps >= 2
    for other in ({"size": 128}, {"guidance_scale": 1.0}, {"pictures": 2}):
        draw(pipeline, **other)
    assert compiler.calls == 2 + steps


def test_a_compiler_that_is_wrong_is_not_used(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = draw(pipeline)
    monkeypatch.setattr(torch, "compile", Counted(off_by=0.2))
    with caplog.at_level(logging.WARNING):
        compile_now(pipeline, "64x64")
    assert "off by 20 %" in caplog.text
    assert torch.equal(draw(pipeline), expected)


def test_no_number_is_not_close_enough(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", Counted(off_by=float("nan")))
    compile_now(pipeline, "64x64")
    assert "it is not used" in caplog.text
    assert draw(pipeline).isfinite().all()


def test_without_a_compiler_pictures_are_made_as_without(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No C++ compiler found\n\nlong explanations")

    expected = draw(pipeline)
    monkeypatch.setattr(torch, "compile", missing)
    with caplog.at_level(logging.WARNING):
        compile_now(pipeline, "64x64")
    assert "pictures are made as without: No C++ compiler found" in caplog.text
    assert "long explanations" not in caplog.text
    assert torch.equal(draw(pipeline), expected)


def test_a_size_that_cannot_be_compiled_does_not_keep_the_others_from_it(
    pipeline: Any, compiler: Counted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = iter([RuntimeError("too large for me"), None])

    def sometimes(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        if (error := next(sizes)) is not None:
            raise error
        return compiler(forward, **options)

    monkeypatch.setattr(torch, "compile", sometimes)
    with caplog.at_level(logging.WARNING):
        compile_now(pipeline, "128x64", "64x64")
    assert "Nothing is compiled for 128x64" in caplog.text
    draw(pipeline)
    assert compiler.calls > 1


def test_what_was_compiled_and_fails_later_is_given_up(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = draw(pipeline)
    calls = 0

    def once(forward: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def compiled(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise RuntimeError("compiled for something else\n\nlong explanations")
            return forward(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", once)
    compile_now(pipeline, "64x64")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(draw(pipeline), expected)
    assert calls == 3
    assert "not used any more: compiled for something else" in caplog.text


def test_running_out_of_memory_in_what_was_compiled_is_told_as_such(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Counted()
    monkeypatch.setattr(torch, "compile", compiler)
    unet = CompiledUNet(pipeline, ["64x64"])
    unet.compile_in_background().join()
    plain, unet._plain = unet._plain, None
    ((shapes, compiled),) = unet._compiled.items()

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    unet._compiled[shapes] = full
    with pytest.raises(torch.OutOfMemoryError):
        draw(pipeline)
    # It is used again as soon as there is room.
    unet._compiled[shapes], unet._plain = compiled, plain
    before = compiler.calls
    draw(pipeline)
    assert compiler.calls > before


def test_the_library_compiles_a_model_once(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(CompiledUNet, "compile_in_background", lambda self: begun.append(self._sizes))
    library = ModelLibrary(make_settings(compile=True, compile_sizes=["64x64"]), choose_device("cpu", "fp32"))
    library.get(None)
    library.get(None)
    assert begun == [("64x64",)]


@pytest.fixture
def compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiled_module, "cached_assets_path", lambda *_: tmp_path)
    compiled_module.keep_compiled_code()
    yield tmp_path
    torch._dynamo.reset()


# torch's own use of what it deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_real_compiler_draws_the_same_picture(pipeline: Any, compiled_code: Path) -> None:
    # One block of each kind: for each further layer the compiler takes seconds.
    torch.manual_seed(3)
    blocks = {"down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",)}
    config = {**pipeline.unet.config, **blocks, "block_out_channels": (32,)}
    pipeline.register_modules(unet=UNet2DConditionModel.from_config(config).eval())
    expected = draw(pipeline)
    unet = CompiledUNet(pipeline, ["64x64"])
    unet.compile_in_background().join()
    assert unet._compiled, "nothing was compiled"
    assert any(compiled_code.rglob("*.so"))
    torch.testing.assert_close(draw(pipeline), expected, atol=1e-3, rtol=1e-3)
    for scheduler in (DDIMScheduler, LMSDiscreteScheduler):
        # Anything that is new to what was compiled would be compiled now, and refused, and given up then.
        with torch.compiler.set_stance("fail_on_recompile"):
            pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
            assert draw(pipeline).isfinite().all()
            assert unet._compiled
