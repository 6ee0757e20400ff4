"""What the studio says when something is wrong: beside the field, or above all, and what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import MEMORY, scripted_server
from studio_page import Studio, expect

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]


@pytest.fixture
def refused(open_studio: OpenStudio, server: str) -> Studio:
    """The studio, for what the server refuses."""
    return open_studio(server, refusals=True)


BAD_VALUES = [
    ("prompt", "x" * 4001, "The prompt has 4001 characters; at most 4000 are allowed."),
    ("width", "7", "Width is 7; it must be from 64 to 1024."),
    ("height", "", "Height is empty; it must be a whole number."),
    ("num_inference_steps", "1.5", "Steps is '1.5'; it must be a whole number."),
    ("guidance_scale", "101", "Guidance is 101; it must be from 0 to 100."),
    ("num_outputs", "17", "The number of pictures is 17; it must be from 1 to 16."),
    ("seed", "-4", "The seed is -4; it must be from 0 to 18446744073709551615."),
]


def test_a_bad_value_is_reported_beside_its_field(refused: Studio) -> None:
    for field, value, words in BAD_VALUES:
        refused.quick(guidance_scale=7.5, num_outputs=1, **{field: value} if field in ("prompt", "seed") else {})
        refused.fill(**{field: value})
        refused.generate()
        expect(refused.problem(field)).to_have_text(words)
        expect(refused.page.locator(f"#{field}")).to_be_focused()
        expect(refused.page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
        expect(refused.page.locator("#banner")).to_be_hidden()
        # It goes as soon as something is done about it.
        refused.fill(**{field: "5"})
        expect(refused.problem(field)).to_have_count(0)


def test_several_bad_values_are_reported_at_once(refused: Studio) -> None:
    refused.quick(prompt="x" * 4001, width="", num_inference_steps="")
    refused.generate()
    for field in ("prompt", "width", "num_inference_steps"):
        expect(refused.problem(field)).to_be_visible()
    expect(refused.page.locator("#problems")).to_have_text("Please correct 3 fields: prompt, width, steps.")
    refused.quick()
    expect(refused.page.locator("#problems")).to_be_hidden()
    refused.generate()
    refused.wait_for_picture()


@pytest.mark.parametrize("size", [(1360, 700), (390, 844)])
def test_what_is_wrong_and_what_has_the_focus_is_never_behind_the_button(
    open_studio: OpenStudio, server: str, size: tuple[int, int]
) -> None:
    studio = open_studio(server, refusals=True, viewport={"width": size[0], "height": size[1]})
    covered = """(node) => {
      const box = node.getBoundingClientRect();
      const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
      return !(node.contains(there) || there?.contains(node));
    }"""
    studio.quick(guidance_scale=500)
    studio.generate()
    expect(studio.problem("guidance_scale")).to_be_visible()
    assert not studio.problem("guidance_scale").evaluate(covered)
    studio.page.locator("#prompt").focus()
    for _ in range(16):
        studio.page.keyboard.press("Tab")
        focused = studio.page.locator("#form :focus:not(#generate)")
        if focused.count():
            assert not focused.evaluate(covered), focused.evaluate("(node) => node.outerHTML")


def test_a_missing_image_and_an_empty_mask_are_reported_beside_the_table(studio: Studio, photo: Path) -> None:
    studio.quick(num_inference_steps=0)
    studio.mode("masking")
    studio.generate()
    # All that is wrong, though nothing has been sent.
    expect(studio.problem("num_inference_steps")).to_have_text("Steps is 0; it must be from 1 to 500.")
    expect(studio.problem("init_image")).to_have_text("Open, drop or paste an image first.")
    studio.fill(num_inference_steps=3)
    studio.open(photo)
    expect(studio.problem("init_image")).to_have_count(0)
    studio.generate()
    expect(studio.problem("mask_image")).to_have_text(
        "Paint over the part to replace first, or drag the frame to extend the image."
    )
    studio.page.get_by_role("button", name="Invert").click()
    expect(studio.problem("mask_image")).to_have_count(0)


def test_what_is_no_image_is_refused_in_words(studio: Studio, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no image", encoding="utf-8")
    studio.drop("body", file, "text/plain")
    expect(studio.page.locator("#banner")).to_contain_text("This browser cannot open notes.txt.")


def test_a_full_queue_says_when_to_come_back(refused: Studio) -> None:
    studio = refused
    studio.quick(num_inference_steps=500, width=256, height=256)
    studio.generate()
    expect(studio.job().locator(".words")).to_contain_text("Step")
    for count in (2, 3):
        studio.generate()
        expect(studio.job()).to_have_count(count)
    studio.generate()
    banner = studio.page.locator("#banner")
    expect(banner).to_contain_text("The server is busy: its queue is full. Try again in about")
    studio.job().first.get_by_role("button", name="Cancel").click()
    expect(studio.job()).to_have_count(2)
    banner.get_by_role("button", name="Try again").click()
    expect(studio.job()).to_have_count(3)
    studio.cancel_all()


def test_loading_out_of_memory_and_flagged(open_studio: OpenStudio, make_settings: Callable[..., Settings]) -> None:
    with scripted_server(make_settings()) as (url, finish_loading):
        # Only because the server is gone before the page is.
        studio = open_studio(url, refusals=True)
        page = studio.page
        expect(page.locator("#banner")).to_contain_text("still loading. You can press Generate now")
        studio.quick()
        studio.generate()
        expect(studio.job()).to_contain_text("Waiting for the model")
        finish_loading()
        expect(page.locator("#banner")).to_be_hidden()
        picture = studio.wait_for_picture(1)
        assert picture.getextrema() == ((0, 0),) * 3
        expect(page.locator("#flagged")).to_contain_text("The safety filter flagged this picture, so it is black.")
        expect(page.locator("#gallery .badge")).to_have_text("Flagged")
        # Now the studio knows that the model can do one thing only.
        expect(page.locator("[name=mode][value=masking]")).to_be_checked()
        expect(page.locator("[name=mode][value=txt2img]")).to_be_disabled()


def test_out_of_memory_is_reported_with_what_to_do(
    open_studio: OpenStudio, make_settings: Callable[..., Settings], photo: Path
) -> None:
    with scripted_server(make_settings()) as (url, finish_loading):
        finish_loading()
        # Only because the server is gone before the page is.
        studio = open_studio(url, refusals=True)
        expect(studio.page.locator("[name=mode][value=masking]")).to_be_checked()
        studio.open(photo)
        studio.page.get_by_role("button", name="Invert").click()
        studio.fill(prompt="too much memory")
        studio.generate()
        expect(studio.job()).to_contain_text(MEMORY)
        studio.page.goto(f"{url}/status")
        expect(studio.page.locator("#failures")).to_contain_text(MEMORY)
        expect(studio.page.locator("#report")).to_contain_text(MEMORY)
