"""Text to image in the studio: pictures, jobs, and coming back to them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from pictures import from_base64
from ready_server import ready_server
from studio_page import Studio, expect

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]


def test_a_newcomer_makes_a_picture(studio: Studio) -> None:
    studio.quick(seed=7)
    studio.generate()
    shown = studio.wait_for_picture()
    # It is the one that the API gives to every other client.
    form = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 3, "seed": 7}
    answer = requests.post(f"{studio.url}/txt2img", data=form, timeout=60).json()
    assert shown.tobytes() == from_base64(answer["images"][0]["base64"]).convert("RGB").tobytes()


def test_the_keyboard_alone_makes_a_picture(studio: Studio) -> None:
    studio.quick(prompt="")
    keyboard = studio.page.keyboard
    studio.page.locator("body").press("Tab")
    keyboard.press("Tab")
    studio.page.locator(".skip").focus()
    keyboard.press("Enter")
    keyboard.type("a cat")
    keyboard.press("Control+Enter")
    studio.wait_for_picture()
    expect(studio.page.locator("#result-parameters")).to_contain_text("a cat")
    # From the button to the pictures, everything is reached with Tab.
    reached = set()
    for _ in range(60):
        keyboard.press("Tab")
        reached.add(studio.page.evaluate("document.activeElement.textContent.trim()"))
    assert {"Download", "Reuse settings", "Reuse settings and seed", "Status"} <= reached


def test_a_seed_is_random_until_it_is_kept(studio: Studio) -> None:
    seed = studio.page.locator("#seed")
    studio.quick()
    studio.generate()
    first = studio.wait_for_picture(1)
    used = seed.input_value()
    assert int(used) > 0
    studio.generate()
    assert studio.wait_for_picture(2).tobytes() != first.tobytes()
    studio.page.locator("#lock").click()
    kept = seed.input_value()
    studio.generate()
    studio.wait_for_picture(3)
    assert seed.input_value() == kept
    studio.page.locator("#dice").click()
    assert seed.input_value() != kept
    expect(studio.page.locator("#lock")).to_have_attribute("aria-pressed", "true")


def test_several_pictures_and_same_seed_change_one_thing(studio: Studio) -> None:
    # Numbers of a browser are rounded there.
    seed = 2**63 + 1
    studio.quick(num_outputs=2, seed=seed)
    studio.generate()
    first = studio.wait_for_picture(2)
    # The others of the request are seen below the first, and a key away.
    expect(studio.page.locator("#strip button")).to_have_count(2)
    studio.page.locator("#view").focus()
    studio.page.keyboard.press(".")
    expect(studio.page.locator("#strip button").nth(1)).to_have_attribute("aria-pressed", "true")
    studio.page.get_by_role("button", name="Reuse settings and seed").click()
    expect(studio.page.locator("#num_outputs")).to_have_value("1")
    assert studio.page.locator("#seed").input_value() in (str(seed), str(seed + 1))
    again = studio.pixels(studio.result())
    studio.generate()
    assert studio.wait_for_picture(3).tobytes() == again.tobytes()
    studio.fill(guidance_scale=1)
    studio.generate()
    assert studio.wait_for_picture(4).tobytes() != first.tobytes()


def test_a_long_job_shows_how_far_it_is_and_cancel_ends_it_and_no_other(studio: Studio) -> None:
    studio.quick(num_inference_steps=500, width=128, height=128)
    studio.generate()
    expect(studio.job().locator(".words")).to_contain_text("Step")
    expect(studio.page.locator("#view .preview")).to_be_visible()
    expect(studio.job().locator("progress")).to_have_attribute("value", re.compile(r"0\.\d+"))
    expect(studio.page).to_have_title(re.compile(r"^\d+ % – Studio$"))
    # Too long to overtake the first one, and of another size, so that it cannot join it.
    studio.quick(prompt="a second one", num_inference_steps=300, width=128, height=120)
    studio.generate()
    second = studio.job().filter(has_text="a second one")
    expect(second.locator(".words")).to_contain_text("Number 1 in the queue")
    # What is in progress stays in view.
    expect(studio.page.locator("#view .preview")).to_have_attribute("alt", "Preview of a dog")
    expect(studio.page.locator("#result-note")).to_contain_text("Step")
    first = studio.job().filter(has_text="a dog")
    first.get_by_role("button", name="Cancel").click()
    expect(first).to_have_count(0)
    studio.wait_for_picture(1)
    expect(studio.page.locator("#result-parameters")).to_contain_text("a second one")


def test_jobs_that_wait_change_places_and_are_cancelled_together(studio: Studio) -> None:
    page = studio.page

    def order() -> list[str]:
        ids: list[str] = page.evaluate("async () => (await (await fetch('/jobs')).json()).jobs.map(({ id }) => id)")
        return ids

    # Too long to overtake each other, and of different sizes, so that none joins another.
    for prompt, height in (("running", 128), ("one", 120), ("two", 112)):
        studio.quick(prompt=prompt, num_inference_steps=500, width=128, height=height)
        studio.generate()
        expect(studio.job().filter(has_text=prompt)).to_have_attribute(
            "data-state", "running" if prompt == "running" else "queued"
        )
    titles = studio.job().locator(".title")
    expect(titles).to_have_text(["running", "one", "two"])
    running, one, two = order()
    page.get_by_role("button", name="Move: two").press("ArrowUp")
    expect(titles).to_have_text(["running", "two", "one"])
    while order() != [running, two, one]:
        page.wait_for_timeout(10)
    handle, target = (page.get_by_role("button", name=f"Move: {name}").bounding_box() for name in ("two", "one"))
    page.mouse.move(handle["x"] + 5, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(target["x"] + 5, target["y"] + 8, steps=3)
    page.mouse.up()
    expect(titles).to_have_text(["running", "one", "two"])
    while order() != [running, one, two]:
        page.wait_for_timeout(10)
    page.get_by_role("button", name="Cancel all").click()
    expect(studio.job()).to_have_count(0)
    expect(page).to_have_title("Studio")


def test_a_reload_during_a_job_loses_nothing(studio: Studio) -> None:
    studio.quick(num_inference_steps=150, width=128, height=128)
    studio.generate()
    expect(studio.job().locator(".words")).to_contain_text("Step")
    studio.reload()
    expect(studio.job()).to_have_count(1)
    assert studio.wait_for_picture(1).size == (128, 128)
    # The form is as it was.
    expect(studio.page.locator("#prompt")).to_have_value("a dog")
    studio.reload()
    studio.wait_for_picture(1)
    expect(studio.job()).to_have_count(0)


def test_a_server_that_stops_and_starts_again(open_studio: OpenStudio, make_settings: Callable[..., Settings]) -> None:
    with ready_server(make_settings()) as url:
        studio = open_studio(url, refusals=True)
        studio.quick(num_inference_steps=500, width=256, height=256)
        studio.generate()
        expect(studio.job().locator(".words")).to_contain_text("Step")
    expect(studio.page.locator("#server-state")).to_have_text("Not reachable")
    expect(studio.page.locator("#banner")).to_contain_text("Start it again")
    with ready_server(make_settings(port=int(url.rpartition(":")[2]))):
        expect(studio.page.locator("#server-state")).to_have_text("Ready on cpu")
        expect(studio.page.locator("#banner")).to_be_hidden()
        # What it said last may have come just before its end.
        expect(studio.job()).to_contain_text(re.compile("restarted|shutting down"))
        studio.quick(num_inference_steps=2)
        studio.page.get_by_role("button", name="Try again").click()
        expect(studio.job().locator(".words")).to_contain_text("Step")
        studio.page.get_by_role("button", name="Cancel").click()
        studio.generate()
        studio.wait_for_picture(1)


@pytest.mark.parametrize("model", ["", "other"])
def test_only_what_the_model_takes_is_offered(studio: Studio, model: str) -> None:
    studio.fill(model=model)
    filter_box = studio.page.locator("#safety_checker")
    assert filter_box.is_disabled() == (model == "")
    studio.quick()
    studio.page.locator("#more").get_by_text("Show as curl command").click()
    expect(studio.page.locator("#command")).to_contain_text("/custom/other" if model else "/txt2img")
    studio.generate()
    studio.wait_for_picture(1)
    expect(studio.page.locator("#result-parameters")).to_contain_text("My Other Model" if model else "tiny-model")


def test_what_the_form_would_take_stands_below_the_button(studio: Studio, photo: Path) -> None:
    line = studio.page.locator("#estimate")
    studio.quick(width=8)
    expect(line).to_have_text("")
    place = studio.page.locator("#generate").bounding_box()
    studio.fill(width=72)
    expect(line).to_contain_text("72 × 64")
    assert studio.page.locator("#generate").bounding_box() == place
    studio.generate()
    studio.wait_for_picture()
    expect(line).to_have_text(re.compile(r"about\s\d+\ss · 72\s×\s64"))
    studio.fill(num_outputs=2, width=5000)
    expect(line).to_have_text("")
    studio.fill(width=64)
    expect(line).to_contain_text("2 pictures · 64 × 64")
    # With an image, once there is a mask.
    studio.mode("masking")
    studio.open(photo)
    expect(line).to_have_text("")
    studio.page.locator("#view").focus()
    studio.page.keyboard.press("Enter")
    expect(line).to_contain_text("2 pictures · 128 × 96")
