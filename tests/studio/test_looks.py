"""The studio's looks: light and dark, a phone, accessibility, and little to transfer."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_server
from studio_page import Studio, expect

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]

AXE = Path(__file__).parent / "axe" / "axe.min.js.gz"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def faults(studio: Studio) -> list[str]:
    """What axe-core finds, of any impact."""
    if not studio.page.evaluate("'axe' in window"):
        # Not as a script of the page, which its policy forbids.
        studio.page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = studio.page.evaluate("async () => (await axe.run({ resultTypes: ['violations'] })).violations")
    return [f"{fault['id']}: {fault['nodes'][0]['html']} {fault['nodes'][0]['failureSummary']}" for fault in found]


def look(studio: Studio) -> None:
    """In light and in dark: nothing is wrong, and nothing is wider than the window."""
    for scheme in ("light", "dark"):
        # Colours that are on their way from one to the other have no contrast to be judged.
        studio.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert faults(studio) == []
    assert studio.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_nothing_is_in_the_way_of_anybody(
    open_studio: OpenStudio, server: str, photo: Path, device: dict[str, Any]
) -> None:
    studio = open_studio(server, refusals=True, **device)
    studio.quick(width=20)
    studio.generate()
    expect(studio.problem("width")).to_be_visible()
    look(studio)
    studio.fill(width=64)
    studio.mode("masking")
    studio.open(photo)
    studio.page.locator("#view").focus()
    studio.page.keyboard.press("Enter")
    studio.generate()
    studio.wait_for_picture()
    studio.page.evaluate("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    look(studio)
    studio.page.goto(f"{server}/status")
    expect(studio.page.locator("#checks li")).to_have_count(7)
    look(studio)


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_nothing_is_in_the_way_of_signing_in(
    open_studio: OpenStudio, make_settings: Callable[..., Settings], device: dict[str, Any]
) -> None:
    settings = make_settings(require_token=True, enable_signup=True, enable_public_token=True)
    with scripted_server(settings) as (url, _):
        studio = open_studio(url, path="/?", refusals=True, **device)
        studio.page.get_by_role("button", name="Sign in").click()
        expect(studio.problem("username")).to_be_visible()
        look(studio)


def test_a_phone_shows_the_whole_state_also_when_signed_in(
    open_studio: OpenStudio, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(require_token=True, enable_public_token=True)
    with scripted_server(settings) as (url, load):
        load()
        studio = open_studio(url, path="/?", refusals=True, **PHONE)
        studio.page.get_by_role("button", name="Go on without an account").click()
        expect(studio.page.get_by_role("button", name="Sign out")).to_be_visible()
        chip = studio.page.locator("#server-state")
        expect(chip).to_have_text("Ready on cpu")
        assert chip.evaluate("(node) => node.scrollWidth - node.clientWidth") == 0


def test_the_theme_follows_the_system_until_it_is_chosen(open_studio: OpenStudio, server: str) -> None:
    studio = open_studio(server, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = studio.page.evaluate(background)
    studio.page.emulate_media(color_scheme="light")
    light = studio.page.evaluate(background)
    assert light != dark
    theme = studio.page.get_by_role("button", name="Theme")
    theme.click()
    theme.click()
    expect(theme).to_have_text("Theme: Dark")
    assert studio.page.evaluate(background) == dark
    studio.page.reload()
    assert studio.page.evaluate(background) == dark


def test_the_first_view_is_small(open_studio: OpenStudio, server: str) -> None:
    studio = open_studio(server)
    entries = studio.page.evaluate(
        """performance.getEntries().filter((entry) => "transferSize" in entry)
           .map((entry) => [entry.name, entry.transferSize])"""
    )
    assert all(name.startswith(server) for name, _ in entries)
    assert len(entries) > 10
    assert sum(size for _, size in entries) < 150_000
