"""A real Chromium in front of real servers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from ready_server import ready_server
from studio_page import USABLE, Studio
from tiny_model import tiny_model

from sd_api.settings import Settings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

OpenStudio = Callable[..., Studio]

SECRET = "hf_" + "abcdefghij" * 3

# What Chromium itself notes of every answer that is no success; that there was one is not a fault of the page.
REFUSAL = "Failed to load resource"


# For each module: while Playwright runs, its event loop is the thread's own, and other tests could not have one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or whichever is there."""
    if CHROMIUM is None:
        pytest.skip("the studio's browser tests: there is no Chromium on the PATH (Debian: apt install chromium)")
    with sync_playwright() as started:
        # Containers have no user namespaces for Chromium's sandbox; what it opens here are our own pages.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """The URL of a server that is ready, with a second model that needs no safety filter."""
    custom = {"model_path": str(tiny_model()), "ui_label": "My Other Model", "url_path": "other"}
    settings = make_settings(
        custom_models=[custom | {"requires_safety_checker": False}],
        # One that waits, so that a full queue is soon there.
        limits={"max_width": 1024, "max_height": 1024, "max_image_pixels": 512 * 512, "max_queued_requests": 2},
        hf_token=SECRET,
    )
    with ready_server(settings) as url:
        yield url


@pytest.fixture
def open_studio(browser: Any) -> Iterator[OpenStudio]:
    """Open a page in a browser of its own, and look for errors in its console at the end.

    ``refusals=True`` is for tests in which the server refuses something or is gone.
    """
    opened: list[tuple[Any, list[str], bool]] = []

    def open_page(url: str, *, refusals: bool = False, path: str = "/", **options: Any) -> Studio:
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
        context.set_default_timeout(20_000)
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        opened.append((context, errors, refusals))
        page.goto(url + path)
        if path == "/":
            page.locator(USABLE).wait_for()
        return Studio(page, url)

    yield open_page
    for context, errors, refusals in opened:
        context.close()
        assert [error for error in errors if not (refusals and error.startswith(REFUSAL))] == []


@pytest.fixture
def studio(open_studio: OpenStudio, server: str) -> Studio:
    """The studio of the server that is ready."""
    return open_studio(server)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image file with a different colour in each corner."""
    from PIL import Image

    image = Image.new("RGB", (128, 96))
    for x in range(128):
        for y in range(96):
            image.putpixel((x, y), (2 * x, 2 * y, 128))
    path = tmp_path / "photo.png"
    image.save(path)
    return path
