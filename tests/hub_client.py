"""This process as a client of the small hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_hub import FakeHub
from hub_app import make_repositories
from huggingface_hub import close_session, constants


@contextmanager
def working_hub() -> Iterator[FakeHub]:
    """A hub that works and has every model."""
    hub = FakeHub()
    hub.repositories.update(make_repositories())
    try:
        yield hub
    finally:
        hub.stop()


@contextmanager
def client_of(hub: FakeHub, folder: Path) -> Iterator[Path]:
    """An empty cache, and this process as if its variables had named the hub and the cache when it was started."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(constants, "ENDPOINT", hub.url)
        patched.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        patched.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        patched.setattr(constants, "HF_HUB_OFFLINE", False)
        patched.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        patched.delenv("HF_TOKEN", raising=False)
        yield folder / "cache"
        close_session()
