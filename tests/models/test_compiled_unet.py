"""What is compiled is used where it fits and is right, and changes nothing elsewhere."""

import copy
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_families import filled, parts_of, sd, sdxl
from tiny_loras import save_kohya_lora
from tiny_model import TEXT_WIDTH
from tiny_pipelines import weights

from sd_api.engine.diffusion import denoise, step
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.backends import compiled as compiled_module
from sd_api.models.backends.compiled import CompiledUNet, compile_blocks
from sd_api.models.components import Parts
from sd_api.models.device import choose_device
from sd_api.models.families.base import Row
from sd_api.models.families.registry import family_of
from sd_api.models.folders import LORA, ModelFolders
from sd_api.models.library import ModelLibrary
from sd_api.settings import Limits, Settings

LIMITS = Limits()


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
def parts() -> Parts:
    return parts_of(sd())


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(torch, "compile", counted)
    return counted


def begun(parts: Parts, size: int = 64, seed: int = 7, **changes: Any) -> Row:
    family = family_of(parts.pipeline)
    values: dict[str, Any] = {"prompt": "a dog", "steps": 2, "guidance": 7.5} | changes
    asked = TextToImage(width=size, height=size, limits=LIMITS, **values)
    with torch.inference_mode():
        return family.start(parts, asked, PictureSeeds(seed=seed), (size, size), family.encode(parts, asked))


def draw(parts: Parts, **asked: Any) -> torch.Tensor:
    latents = denoise(family_of(parts.pipeline), parts, begun(parts, **asked)).latents
    assert latents is not None
    return latents


def compile_now(parts: Parts, *sizes: str) -> CompiledUNet:
    unet = CompiledUNet(parts, sizes)
    unet.compile_in_background().join()
    return unet


def test_only_the_sizes_that_were_asked_for_are_compiled(parts: Parts, compiler: Counted) -> None:
    others: list[dict[str, Any]] = [{"size": 128}, {"guidance": 1.0}]
    expected = [draw(parts, **other) for other in others]
    plain = draw(parts)
    compile_now(parts, "64x64", "128x64")
    assert compiler.calls == 2, "each is tried once before it is used"
    assert torch.equal(draw(parts), plain)
    steps = compiler.calls - 2
    assert steps >= 2
    for other, latents in zip(others, expected, strict=True):
        assert torch.equal(draw(parts, **other), latents)
    assert compiler.calls == 2 + steps


def test_loras_act_beside_what_is_compiled(compiler: Counted, tmp_path: Path) -> None:
    save_kohya_lora(tmp_path / "ink.safetensors", TEXT_WIDTH, 5)
    parts = Parts(sd(), torch.device("cpu"), lambda _: None, folders=ModelFolders({LORA: [tmp_path]}))
    plain, inked = draw(parts), draw(parts, prompt="a dog <lora:ink>")
    compile_now(parts, "64x64")
    before = compiler.calls
    assert torch.equal(draw(parts, prompt="a dog <lora:ink>"), inked)
    assert compiler.calls == before
    assert torch.equal(draw(parts), plain)
    assert compiler.calls > before
    assert not torch.equal(plain, inked)


def test_a_batch_runs_as_it_is_on_a_processor(parts: Parts, compiler: Counted) -> None:
    compile_now(parts, "64x64")
    rows = [begun(parts, seed=seed) for seed in (1, 2)]
    before = compiler.calls
    assert not step(family_of(parts.pipeline), parts, rows)
    assert compiler.calls == before
    # A GPU's code takes any number of rows but one.
    parts.denoiser.call._on_cpu = False  # type: ignore[attr-defined]
    assert not step(family_of(parts.pipeline), parts, rows)
    assert compiler.calls == before + 1
    draw(parts, guidance=1.0)
    assert compiler.calls == before + 1


def test_the_copy_takes_the_place_of_the_original(parts: Parts, compiler: Counted) -> None:
    original = parts.denoiser.module
    weights = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    expected = draw(parts)
    seen = weakref.ref(original)
    del original
    unet = compile_now(parts, "64x64")
    assert parts.denoiser.module is seen(), "another thread runs the model meanwhile"
    assert torch.equal(draw(parts), expected)
    gc.collect()
    assert seen() is None, "two of them would take twice the memory"
    assert parts.denoiser.module is parts.pipeline.unet
    assert parts.denoiser.call is unet
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.denoiser.module.state_dict().items())
    # All else goes to the copy as well.
    assert torch.equal(draw(parts, size=128), draw(parts_of(sd()), size=128))


@pytest.mark.parametrize("off_by", [0.2, float("nan")])
def test_a_compiler_that_is_wrong_is_not_used(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, off_by: float
) -> None:
    expected, original = draw(parts), parts.denoiser.module
    monkeypatch.setattr(torch, "compile", Counted(off_by))
    with caplog.at_level(logging.WARNING):
        compile_now(parts, "64x64")
    assert f"off by {100 * off_by:.0f} %; it is not used" in caplog.text
    assert torch.equal(draw(parts), expected)
    assert parts.denoiser.module is original, "the copy is of no use"


def test_without_a_compiler_pictures_are_made_as_without(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No C++ compiler found\n\nlong explanations")

    expected = draw(parts)
    monkeypatch.setattr(torch, "compile", missing)
    with caplog.at_level(logging.WARNING):
        compile_now(parts, "64x64")
    assert "pictures are made as without: No C++ compiler found" in caplog.text
    assert "long explanations" not in caplog.text
    assert torch.equal(draw(parts), expected)


def test_without_memory_for_a_copy_nothing_is_compiled(
    parts: Parts, compiler: Counted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    expected = draw(parts)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(copy, "deepcopy", full)
        compile_now(parts, "64x64")
    assert "Nothing is compiled, because there is no memory for it: CUDA out of memory." in caplog.text
    assert compiler.calls == 0
    assert torch.equal(draw(parts), expected)


def test_a_size_that_cannot_be_compiled_does_not_keep_the_others_from_it(
    parts: Parts, compiler: Counted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = iter([RuntimeError("too large for me"), None])

    def sometimes(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        if (error := next(sizes)) is not None:
            raise error
        return compiler(forward, **options)

    monkeypatch.setattr(torch, "compile", sometimes)
    with caplog.at_level(logging.WARNING):
        compile_now(parts, "128x64", "64x64")
    assert "Nothing is compiled for 128x64" in caplog.text
    draw(parts)
    assert compiler.calls > 1


def test_what_was_compiled_and_fails_later_is_given_up(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = draw(parts)
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
    compile_now(parts, "64x64")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(draw(parts), expected)
    assert calls == 3
    assert "not used any more: compiled for something else" in caplog.text


def test_running_out_of_memory_in_what_was_compiled_is_reported_as_such(parts: Parts, compiler: Counted) -> None:
    unet = compile_now(parts, "64x64")
    ((shapes, compiled),) = unet._compiled.items()

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    unet._compiled[shapes] = full
    with pytest.raises(torch.OutOfMemoryError):
        draw(parts)
    # It is used again as soon as there is room.
    unet._compiled[shapes] = compiled
    before = compiler.calls
    draw(parts)
    assert compiler.calls > before


def test_sdxl_is_compiled_with_what_it_is_conditioned_with(compiler: Counted) -> None:
    parts = parts_of(sdxl())
    expected = draw(parts)
    compile_now(parts, "64x64")
    before = compiler.calls
    assert torch.equal(draw(parts), expected)
    assert compiler.calls == before + 2


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
def test_the_real_compiler_draws_the_same_picture(compiled_code: Path) -> None:
    pipeline = sd()
    # Attention is in the middle alone: for each further layer the compiler takes seconds.
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    config = {**pipeline.unet.config, **blocks, "block_out_channels": (32,)}
    pipeline.register_modules(unet=filled(UNet2DConditionModel.from_config(config)))
    parts = parts_of(pipeline)
    expected = draw(parts)
    unet = compile_now(parts, "64x64")
    assert unet._compiled, "nothing was compiled"
    assert any(compiled_code.rglob("*.so"))
    torch.testing.assert_close(draw(parts), expected, atol=1e-3, rtol=1e-3)
    for scheduler in ("ddim", "k-lms"):
        # Anything that is new to what was compiled would be compiled now, and refused, and given up then.
        with torch.compiler.set_stance("fail_on_recompile"):
            assert draw(parts, scheduler=scheduler).isfinite().all()
            assert unet._compiled


def test_the_blocks_of_a_transformer_compute_the_same_compiled() -> None:
    transformer = weights("flux").transformer
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "hidden_states": (1, 4, transformer.config.in_channels),
        "encoder_hidden_states": (1, 3, transformer.config.joint_attention_dim),
        "pooled_projections": (1, transformer.config.pooled_projection_dim),
        "timestep": (1,),
        "img_ids": (4, 3),
        "txt_ids": (3, 3),
        "guidance": (1,),
    }
    arguments = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    with torch.inference_mode():
        expected = transformer(**arguments).sample
        compiled = copy.deepcopy(transformer)
        compile_blocks(compiled, backend="eager")
        assert compiled.transformer_blocks[0]._compiled_call_impl is not None
        assert torch.allclose(compiled(**arguments).sample, expected, atol=1e-5)
    compile_blocks(torch.nn.Linear(2, 2))
