"""The studio's looks: light and dark, a phone, accessibility, and little to transfer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import scripted_server
from studio_page import WATCH_SHIFTS, Studio, expect, look

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]

NARROW: Any = {"width": 390, "height": 844}
PHONE = {"viewport": NARROW, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

# What has the focus is called, and how its outline is drawn.
FOCUSED = """() => {
  const { ariaLabel, labels, textContent } = document.activeElement;
  const words = [...(labels?.[0]?.childNodes ?? [])].find((node) => node.nodeType === Node.TEXT_NODE);
  return [ariaLabel ?? words?.data ?? textContent, getComputedStyle(document.activeElement).outlineStyle];
}"""


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


def test_nothing_is_in_the_way_of_pickers_and_jobs(
    open_studio: OpenStudio, make_settings: Callable[..., Settings], photo: Path
) -> None:
    def offer_all(route: Any) -> None:
        offer = route.fetch().json()
        named = {"architecture": "Stable Diffusion 1", "problem": None}
        offer["loras"] = [named | {"name": "sketch", "words": ["pencil sketch"], "hint": {"num_inference_steps": 4}}]
        offer["controlnets"] = offer["ip_adapters"] = [named | {"name": "a-name-as-long-as-those-of-files"}]
        offer["vaes"] = ["soft"]
        able = [field["requires"] for field in offer["fields"].values() if "requires" in field]
        modes = ["txt2img", "img2img", "masking", "edit"]
        offer["models"][0] |= {"modes": modes, "capabilities": [*able, "ip_adapters"]}
        route.fulfill(json=offer)

    with scripted_server(make_settings()) as (url, finish_loading):
        studio = open_studio(url, refusals=True)
        page = studio.page
        page.route("**/models", offer_all)
        studio.reload()
        expect(page.locator("#welcome")).to_be_visible()
        look(studio)
        studio.mode("img2img")
        studio.open(photo)
        page.locator("[data-field=loras] summary").click()
        page.get_by_label("Add a LoRA").fill("sketch")
        for name in ("references", "controls"):
            page.locator(f"[data-field={name}] input[type=file]").set_input_files(photo)
            expect(page.locator(f"[data-field={name}] .entry img")).to_be_visible()
        page.locator("[data-field=loras] summary").focus()
        reached = set()
        for _ in range(25):
            page.keyboard.press("Tab")
            named, outline = page.evaluate(FOCUSED)
            assert outline == "solid", named
            reached.add(named)
        assert {"Add a LoRA", "Remove References 1", "Adapter", "Controls: add an image", "Preprocessor"} <= reached
        page.evaluate(WATCH_SHIFTS)
        for number, prompt in enumerate(("one", "two", "three"), start=1):
            studio.fill(prompt=prompt, strength=0.5)
            studio.generate()
            expect(studio.job()).to_have_count(number)
        expect(page.locator(".job[data-state=queued]")).to_have_count(3)
        page.get_by_role("button", name="Move: two").focus()
        look(studio)
        finish_loading()
        expect(page.locator("#gallery-days [data-picture]")).to_have_count(3)
        expect(studio.job()).to_have_count(0)
        # The image, and what became of it.
        expect(page.locator("#strip button")).to_have_count(2)
        assert page.evaluate("window.shifts") < 0.02
        page.set_viewport_size(NARROW)
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
