"""A small hub, and this process as its client."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline
from fake_hub import FakeHub
from hub_app import App
from hub_client import client_of, working_hub
from huggingface_hub.utils import _cache_assets
from original_layout import to_original_layout
from safetensors.torch import save_file
from tiny_model import tiny_model

from sd_api.app import create_app
from sd_api.models import architectures
from sd_api.settings import Settings
from sd_api.wiring import build_services

StartApp = Callable[..., App]


@pytest.fixture(autouse=True, scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the copies that models are converted to in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path_factory.mktemp("assets")))
        yield


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub that works and has every model."""
    with working_hub() as hub:
        yield hub


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and this process as a client of the hub."""
    with client_of(hub, tmp_path) as cache:
        yield cache


@pytest.fixture
def start(make_settings: Callable[..., Settings], cache: Path) -> Iterator[StartApp]:
    """Start the application with a model of the hub."""
    started: list[App] = []

    def start(model: str = "demo/tiny", **changes: object) -> App:
        settings = make_settings(model=model, **changes)
        services = build_services(settings)
        started.append(App(create_app(settings, services), services))
        services.start()
        return started[-1]

    yield start
    assert all(app.services.stop(timeout=60) for app in started)


@pytest.fixture
def single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The built-in model as a single file, which has no safety checker."""
    path = tmp_path / "model.safetensors"
    save_file(to_original_layout(StableDiffusionPipeline.from_pretrained(tiny_model())), path)
    # It is smaller than any model of its architecture.
    tiny = dataclasses.replace(architectures.ARCHITECTURES["v1"], config=tiny_model())
    monkeypatch.setattr(architectures, "ARCHITECTURES", {**architectures.ARCHITECTURES, "v1": tiny})
    return str(path)
