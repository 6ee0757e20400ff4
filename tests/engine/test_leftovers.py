"""Nothing of one run is left for the next: not in the weights, not in the flags, not in the caches, not in memory."""

import copy
import gc
import operator
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pictures import half_mask, photograph, png
from running import FullAt, generate, serve
from tiny_families import sd, sdxl, tokenizer
from tiny_model import make_feature_extractor, make_safety_checker, seed_weights

from sd_api.engine import finishing, memory
from sd_api.errors import OutOfMemory, ServerError
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, TextToImage
from sd_api.generation.spec import JobSpec
from sd_api.jobs.job import Job
from sd_api.models import autoencoder, library
from sd_api.models.component import Component
from sd_api.models.decoding import IN_TILES
from sd_api.models.safety import SafetyFilter
from sd_api.settings import Limits, Settings
from sd_api.wiring import build_engine

# With the strength of images, three of them.
STEPS, STRENGTH = 4, 0.75
LIMITS = Limits()
SIZE = (64, 64)

MODELS: dict[str, Callable[[], Any]] = {
    "sd": sd,
    "sd inpainting": lambda: sd(9),
    "instruct-pix2pix": lambda: sd(8),
    "sdxl": sdxl,
    "sdxl inpainting": lambda: sdxl(9),
}
MODES = {"sd": "img2img", "sd inpainting": "masking", "instruct-pix2pix": "edit", "sdxl": "img2img"}
MODES["sdxl inpainting"] = "masking"


@pytest.fixture(scope="module")
def engine_of(make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    folders: dict[str, Path] = {}
    engines: dict[Any, Any] = {}

    def get(name: str, dtype: str) -> Any:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("models") / "model"
            MODELS[name]().save_pretrained(folders[name])
        if (name, dtype) not in engines:
            settings = make_settings(model=str(folders[name]), requires_safety_checker=False, dtype=dtype)
            engines[name, dtype] = build_engine(settings)
        return engines[name, dtype]

    return get


@pytest.fixture(scope="module", autouse=True)
def filter_of_pictures() -> Iterator[None]:
    """A safety checker that flags nothing, for models that come without one."""
    checker: Any = seed_weights(make_safety_checker(tokenizer()))
    found = SafetyFilter(Component("safety_checker", checker.eval()), make_feature_extractor())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(library, "fetch_safety_filter", lambda *_: found)
        yield


def spec(mode: str, prompt: str = "a dog") -> JobSpec:
    fields: dict[str, Any] = {"prompt": prompt, "steps": STEPS, "guidance": 4.0, "safety_filter": True}
    operation: Operation
    image = ImageRef(png(photograph(*SIZE)), "image", "image", max_pixels=10**6)
    if mode == "txt2img":
        operation = TextToImage(width=SIZE[0], height=SIZE[1], limits=LIMITS, **fields)
    elif mode == "edit":
        operation = Edit(image=image, limits=LIMITS, **fields)
    elif mode == "img2img":
        operation = ImageToImage(image=image, strength=STRENGTH, limits=LIMITS, **fields)
    else:
        mask = ImageRef(png(half_mask(*SIZE)), "mask", "mask", max_pixels=10**6)
        operation = Inpaint(image=image, mask=mask, strength=STRENGTH, limits=LIMITS, **fields)
    return JobSpec(operation=operation, seeds=(7,), limits=LIMITS)


def state_of(engine: Any) -> dict[str, Any]:
    """Every weight with its precision and its order in memory, and every flag of the autoencoder."""
    model = engine._library.get(None)
    state: dict[str, Any] = {}
    for name, part in model.parts.components.items():
        module = model.parts.pipeline.components[name]
        assert part.module is module
        assert part.call is module
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            content = hash(tensor.detach().flatten().view(torch.uint8).numpy().tobytes())
            state[f"{name}.{key}"] = (tensor.dtype, tensor.device, tensor.stride(), tensor.is_inference(), content)
        state[f"{name} hooks"] = [len(inner._forward_hooks) for inner in module.modules()]
    vae = model.parts.autoencoder.module
    state["flags"] = vae.use_tiling, vae.use_slicing, vae.training, id(vae.decoder)
    return state


def full(*_: Any, **__: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("a secret detail")


Fault = Callable[[Any, Callable[..., Any]], AbstractContextManager[Any]]


@contextmanager
def failing_from(number: int, spoil: Callable[..., Any], *modules: torch.nn.Module) -> Iterator[None]:
    """Let each call of a module fail from one of them on, counted from 1."""
    calls = 0

    def hook(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls >= number:
            spoil()

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def in_part(path: str, number: int = 1) -> Fault:
    """A fault in a module of the pipeline."""

    def fault(engine: Any, spoil: Callable[..., Any]) -> AbstractContextManager[Any]:
        pipeline = engine._library.get(None).parts.pipeline
        return failing_from(number, spoil, operator.attrgetter(path)(pipeline))

    return fault


def in_scheduler(engine: Any, spoil: Callable[..., Any]) -> AbstractContextManager[Any]:
    return in_function(type(engine._library.get(None).parts.pipeline.scheduler), "step")(engine, spoil)


def in_safety_filter(engine: Any, spoil: Callable[..., Any]) -> AbstractContextManager[Any]:
    checker = engine._library.safety_filter(engine._library.get(None), True).checker
    return failing_from(1, spoil, checker.module.vision_model)


def in_function(owner: Any, name: str) -> Fault:
    @contextmanager
    def fault(_engine: Any, spoil: Callable[..., Any]) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, spoil)
            yield

    return fault


STAGES: dict[str, Fault] = {
    "text encoder": in_part("text_encoder"),
    "image": in_part("vae.encoder"),
    # After the image itself, for those that encode two.
    "masked image": in_part("vae.encoder", 2),
    "first step": in_part("unet"),
    "within a step": in_part("unet.mid_block", 2),
    "last step": in_part("unet", 3),
    "scheduler": in_scheduler,
    "decoder": in_part("vae.decoder"),
    "safety filter": in_safety_filter,
    "finishing": in_function(finishing, "encode_png"),
}
PRECISIONS = [*((name, "bf16") for name in MODELS), ("sd", "fp32")]


def in_vain(engine: Any, job: JobSpec) -> ServerError:
    """What a job ends with that cannot be made."""
    with pytest.raises(ServerError) as failure:
        generate(engine, job)
    return failure.value


def forget(engine: Any) -> None:
    """Have the next job encode its words and its images anew."""
    engine._library.get(None).parts._cached.clear()


@pytest.mark.parametrize(("name", "dtype"), PRECISIONS)
def test_the_next_picture_is_as_before_whatever_breaks_off(engine_of: Any, name: str, dtype: str) -> None:
    engine, mode = engine_of(name, dtype), MODES[name]
    expected = generate(engine, spec(mode))
    before = state_of(engine)
    for number, (stage, fault) in enumerate(STAGES.items(), start=len(name)):
        if stage == "masked image" and name != "sdxl inpainting" and name != "sd inpainting":
            continue
        # By turns, and others with another model.
        spoil = (full, broken)[number % 2]
        # Nothing that is kept spares the text encoder and the autoencoder their runs.
        forget(engine)
        with fault(engine, spoil):
            error = in_vain(engine, spec(mode, stage))
        assert isinstance(error, OutOfMemory) == (spoil is full), stage
        assert "secret" not in error.message
        assert state_of(engine) == before, stage
        assert generate(engine, spec(mode)) == expected, stage


def without_copies(spoil: Callable[..., Any]) -> AbstractContextManager[Any]:
    """No memory for the copy of the autoencoder in single precision."""
    replacement: Any = SimpleNamespace(copy=copy.copy, deepcopy=spoil)
    return in_function(autoencoder, "copy")(None, replacement)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_copy_of_the_autoencoder_that_does_not_fit_leaves_it_as_it_was(engine_of: Any, name: str) -> None:
    engine = engine_of(name, "bf16")
    vae = engine._library.get(None).parts.autoencoder.module
    expected = generate(engine, spec("img2img"))
    before = state_of(engine)
    # SDXL encodes in single precision, and a decoder that gives no numbers in half precision runs again.
    hook = vae.decoder.register_forward_hook(lambda *call: call[2] * torch.nan)
    try:
        for mode in ("img2img", "txt2img"):
            forget(engine)
            with without_copies(full):
                assert isinstance(in_vain(engine, spec(mode)), OutOfMemory)
    finally:
        hook.remove()
    assert state_of(engine) == before
    assert generate(engine, spec("img2img")) == expected


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_tiles_leave_no_flag(engine_of: Any, name: str) -> None:
    engine = engine_of(name, "bf16")
    expected = generate(engine, spec("txt2img"))
    before = state_of(engine)
    with failing_from(1, full, *engine._library.get(None).parts.autoencoder.module.decoder.children()):
        assert isinstance(in_vain(engine, spec("txt2img")), OutOfMemory)
    calls = 0

    def only_third(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            full()

    hook = engine._library.get(None).parts.autoencoder.module.decoder.register_forward_pre_hook(only_third)
    try:
        result = generate(engine, spec("txt2img"))
    finally:
        hook.remove()
    assert result.warnings == (IN_TILES,)
    assert result.images == expected.images, "it is smaller than a tile"
    assert state_of(engine) == before
    assert generate(engine, spec("txt2img")) == expected


@pytest.mark.parametrize("name", ["instruct-pix2pix", "sdxl inpainting"])
def test_the_next_picture_is_as_before_wherever_memory_runs_out(engine_of: Any, name: str) -> None:
    engine, mode = engine_of(name, "bf16"), MODES[name]
    expected = generate(engine, spec(mode))
    before = state_of(engine)
    with FullAt() as counting:
        generate(engine, spec(mode, "words to count with"))
    for part in range(1, 8):
        with FullAt(counting.count * part // 8):
            serve(engine, [job := Job(spec(mode, f"words {part}"))])
        assert job.ended
        assert state_of(engine) == before, part
    assert generate(engine, spec(mode)) == expected


@pytest.mark.parametrize("spoil", [full, broken])
@pytest.mark.parametrize("path", ["unet", "vae.decoder", "vae.encoder"])
def test_a_failed_job_keeps_no_tensors(
    engine_of: Any, path: str, spoil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of("sdxl", "bf16")
    generate(engine, spec("img2img"))
    # pytest keeps what is logged, with its trace; a server does not.
    monkeypatch.setattr(memory.log, "disabled", True)
    seen: list[weakref.ref[torch.Tensor]] = []

    def note(_module: Any, arguments: Any, output: Any) -> None:
        seen.extend(weakref.ref(tensor) for tensor in (arguments[0], *output) if isinstance(tensor, torch.Tensor))
        spoil()

    module = operator.attrgetter(path)(engine._library.get(None).parts.pipeline)
    hook = module.register_forward_hook(note)
    job = Job(spec("img2img"))
    forget(engine)
    try:
        serve(engine, [job])
    finally:
        hook.remove()
    gc.collect()
    assert job.status().state == "failed"
    assert seen
    assert [tensor() for tensor in seen] == [None] * len(seen)
