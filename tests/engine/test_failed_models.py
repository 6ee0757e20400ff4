"""A model that cannot be loaded fails each request with the reason, and the next request tries it again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from requested import request
from running import generate
from tiny_model import tiny_model

from sd_api.errors import ModelUnavailable
from sd_api.models import library
from sd_api.models.device import DeviceChoice
from sd_api.models.families import unet
from sd_api.models.placement import Placement
from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model(), tmp_path / "copy"))


def test_a_damaged_model_is_named_with_its_fault_and_works_once_it_is_mended(
    make_settings: Callable[..., Settings], copy: Path
) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    settings = make_settings(model=str(copy))
    engine = build_engine(settings)
    engine.load()
    assert engine.status().state == "failed"
    assert str(weights) in str(engine.status().message)
    with pytest.raises(ModelUnavailable):
        generate(engine, request())
    weights.write_bytes(whole)
    assert generate(engine, request()).images
    assert engine.status().state == "ready"
    assert engine.status().message is None


def test_files_that_only_look_right_are_refused_as_well(make_settings: Callable[..., Settings], copy: Path) -> None:
    (copy / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}', encoding="utf-8")
    engine = build_engine(make_settings(model=str(copy)))
    engine.load()
    assert engine.status().state == "failed"
    assert "cannot be loaded" in str(engine.status().message)


def test_a_custom_model_works_while_the_main_one_does_not(make_settings: Callable[..., Settings], copy: Path) -> None:
    custom = {"model_path": str(tiny_model()), "ui_label": "Mine", "url_path": "mine"}
    (copy / "vae" / "config.json").unlink()
    settings = make_settings(model=str(copy), custom_models=[custom])
    engine = build_engine(settings)
    engine.load()
    assert engine.status().state == "failed"
    (image,) = generate(engine, request(model="mine")).images
    # Its own safety checker stands in for the main model's.
    assert image.nsfw is False


def test_a_custom_model_works_while_the_main_one_does_not_fit_on_the_device(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = {"model_path": str(tiny_model()), "ui_label": "Mine", "url_path": "mine"}
    settings = make_settings(custom_models=[custom])
    # It has no content, but everything can be moved there.
    there = DeviceChoice(torch.device("meta"), "", "fp32", "")
    models = library.ModelLibrary(settings, there)
    use, loads = Placement.use, 0

    def full_for_the_first(self: Placement, components: Any) -> None:
        nonlocal loads
        loads += 1
        if loads == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        use(self, components)

    monkeypatch.setattr(Placement, "use", full_for_the_first)
    with pytest.raises(torch.OutOfMemoryError):
        models.get(None)
    mine = models.get("mine")
    safety = models.safety_filter(mine, None)
    assert safety is not None
    models.place([safety.checker])
    assert next(safety.checker.module.parameters()).is_meta


def test_a_model_whose_folder_vanishes_is_named_and_works_once_it_is_back(
    make_settings: Callable[..., Settings], copy: Path
) -> None:
    custom = {"model_path": str(copy), "ui_label": "Mine", "url_path": "mine"}
    settings = make_settings(custom_models=[custom])
    engine = build_engine(settings)
    away = copy.rename(copy.with_name("away"))
    with pytest.raises(ModelUnavailable, match=str(copy)):
        generate(engine, request(model="mine"))
    away.rename(copy)
    expected = generate(engine, request(model="mine"))
    # Once loaded, it needs its files no more.
    shutil.rmtree(copy)
    assert generate(engine, request(model="mine")) == expected


def test_custom_models_share_the_main_models_filter(make_settings: Callable[..., Settings]) -> None:
    custom = {"model_path": str(tiny_model()), "ui_label": "Mine", "url_path": "mine"}
    settings = make_settings(custom_models=[custom])
    engine = build_engine(settings)
    engine.load()
    generate(engine, request(model="mine"))
    models = engine._library  # type: ignore[attr-defined]
    main, mine = models.get(None), models.get("mine")
    assert mine.own_filter is None
    assert models.safety_filter(mine, None) == models.safety_filter(main, None) == main.own_filter
    assert mine.parts.denoiser.module is not main.parts.denoiser.module


def test_what_nobody_foresaw_while_loading_does_not_stop_the_engine(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a secret detail")

    settings = make_settings()
    engine = build_engine(settings)
    with monkeypatch.context() as patched:
        patched.setattr(library, "load_pipeline", broken)
        engine.load()
    assert engine.status().state == "failed"
    assert "secret" not in str(engine.status().message)
    assert "a secret detail" in caplog.text
    assert generate(engine, request()).images


def test_a_model_saved_in_half_precision_only_is_loaded(make_settings: Callable[..., Settings], copy: Path) -> None:
    for weights in copy.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    settings = make_settings(model=str(copy))
    assert generate(build_engine(settings), request()).images


def test_a_model_that_cannot_be_had_stays_nowhere(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise ModelUnavailable("The hub is away.")

    monkeypatch.setattr(library, "take_safety_filter", lambda _pipeline: None)
    monkeypatch.setattr(library, "fetch_safety_filter", away)
    models = library.ModelLibrary(make_settings(), DeviceChoice(torch.device("cpu"), "", "fp32", ""))
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="away"):
            models.get(None)
    assert models._placement._resident == []


def test_a_model_of_another_input_is_refused_and_the_others_go_on(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = {"model_path": str(tiny_model()), "ui_label": "Mine", "url_path": "mine"}
    engine = build_engine(make_settings(custom_models=[custom]))
    engine.load()
    with monkeypatch.context() as patched:
        patched.setattr(unet, "MODES", {9: ("masking",)})
        with pytest.raises(ModelUnavailable, match="takes 4 channels, and this server runs those that take 9"):
            generate(engine, request(model="mine"))
    assert list(engine.status().abilities) == [None]
    assert generate(engine, request()).images
