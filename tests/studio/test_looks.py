"""The studio's looks: light and dark, a phone, accessibility, and little to transfer."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_page import Studio, expect

OpenStudio = Callable[..., Studio]

AXE = Path(__file__).parent / "axe" / "axe.min.js.gz"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def serious_faults(studio: Studio) -> list[str]:
    """What axe-core finds, as far as it is serious."""
    # Not as a script of the page, which its policy forbids.
    studio.page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = studio.page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{fault['id']}: {fault['nodes'][0]['html']} {fault['nodes'][0]['failureSummary']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE])
def test_nothing_is_in_the_way_of_anybody(
    open_studio: OpenStudio, server: Any, photo: Path, scheme: str, device: dict[str, Any]
) -> None:
    studio = open_studio(server.url, refusals=True, color_scheme=scheme, **device)
    assert serious_faults(studio) == []
    studio.quick(prompt="")
    studio.generate()
    expect(studio.problem("prompt")).to_be_visible()
    assert serious_faults(studio) == []
    studio.fill(prompt="a dog")
    studio.mode("masking")
    studio.page.locator("#file").set_input_files(photo)
    studio.page.locator(".sheet").focus()
    studio.page.keyboard.press("Space")
    studio.generate()
    studio.wait_for_picture()
    studio.page.evaluate("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    assert serious_faults(studio) == []
    studio.page.goto(f"{server.url}/status")
    expect(studio.page.locator("#checks li")).to_have_count(7)
    assert serious_faults(studio) == []


@pytest.mark.parametrize("path", ["/", "/status"])
def test_nothing_is_wider_than_a_phone(open_studio: OpenStudio, server: Any, path: str) -> None:
    studio = open_studio(server.url, path=path, **PHONE)
    expect(studio.page.locator("#server-state")).to_have_attribute("data-state", "ready")
    if path == "/":
        studio.quick()
        studio.generate()
        studio.wait_for_picture()
    for mode in ("txt2img", "masking") if path == "/" else ("",):
        if mode:
            studio.mode(mode)
        assert studio.page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_theme_follows_the_system_until_it_is_chosen(open_studio: OpenStudio, server: Any) -> None:
    studio = open_studio(server.url, color_scheme="dark")
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


def test_the_first_view_is_small(open_studio: OpenStudio, server: Any) -> None:
    studio = open_studio(server.url)
    entries = studio.page.evaluate(
        """performance.getEntries().filter((entry) => "transferSize" in entry)
           .map((entry) => [entry.name, entry.transferSize])"""
    )
    assert all(name.startswith(server.url) for name, _ in entries)
    assert len(entries) > 10
    assert sum(size for _, size in entries) < 150_000
