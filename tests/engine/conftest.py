"""What tests of the engine share; those that need another one have a fixture of the same name."""

from collections.abc import Callable
from typing import Any

import pytest

from sd_api.settings import Settings
from sd_api.wiring import build_engine


@pytest.fixture(scope="module")
def engine(make_settings: Callable[..., Settings]) -> Any:
    engine = build_engine(make_settings())
    engine.load()
    return engine


@pytest.fixture
def at_once(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(type(engine), "at_once", lambda self: 16)
