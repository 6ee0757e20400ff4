"""The studio's table: images of any size, masks of many kinds, edits that are accepted, and what is kept of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from pictures import from_base64
from PIL import Image
from studio_page import WATCH_SHIFTS, Studio, expect, open_photo, painted, stroke

OpenStudio = Callable[..., Studio]


def drag(studio: Studio, *points: tuple[float, float], tool: str) -> None:
    """Use a tool along points, as shares of the image's sides."""
    studio.page.get_by_role("button", name=tool, exact=True).click()
    stroke(studio, *points)


def test_masks_are_made_by_shapes_colours_and_refined(studio: Studio, tmp_path: Path) -> None:
    file = tmp_path / "halves.png"
    image = Image.new("RGB", (400, 300), "navy")
    image.paste("orange", (200, 0, 400, 300))
    image.save(file)
    open_photo(studio, file, "masking")
    page = studio.page
    drag(studio, (0.25, 0.25), (0.75, 0.75), tool="Rectangle")
    assert abs(painted(studio) - 0.25) < 0.01
    # Grown by 10 pixels with round corners, shrunk again, and blurred, which keeps the sum.
    page.get_by_text("Refine", exact=True).click()
    page.get_by_label("Pixels", exact=True).fill("10")
    page.get_by_role("button", name="Grow").click()
    exact = (200 * 150 + 2 * 10 * (200 + 150) + np.pi * 10**2) / (400 * 300)
    assert abs(painted(studio) - exact) < 0.005
    page.get_by_role("button", name="Shrink").click()
    assert abs(painted(studio) - 0.25) < 0.01
    page.get_by_role("button", name="Feather").click()
    assert abs(painted(studio) - 0.25) < 0.01
    page.get_by_role("button", name="Clear").click()
    drag(studio, (0.1, 0.1), (0.9, 0.1), (0.9, 0.9), tool="Lasso")
    assert abs(painted(studio) - 0.32) < 0.01
    page.get_by_role("button", name="Clear").click()
    drag(studio, (0.75, 0.5), tool="Colour")
    while painted(studio) == 0:
        page.wait_for_timeout(10)
    assert abs(painted(studio) - 0.5) < 0.01
    page.get_by_role("button", name="Erase").click()
    drag(studio, (0.5, 0.0), (1.0, 0.5), tool="Rectangle")
    assert abs(painted(studio) - 0.25) < 0.01


def test_a_reload_keeps_the_image_its_mask_and_its_margins(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    stroke(studio, (0.3, 0.5), (0.6, 0.5))
    drag(studio, (0.5, 0.5), tool="Extend")
    studio.page.locator(".handle.right").focus()
    studio.page.keyboard.press("Shift+ArrowRight")
    before = painted(studio)
    # It is kept shortly after the last stroke.
    kept = """async () => {
      const record = (await (await import('/studio/js/store.js')).all('table')).find(({ mask }) => mask);
      const mask = new (await import('/studio/js/mask.js')).Mask(128, 96);
      if (record) await mask.load(record.mask);
      return mask.coverage();
    }"""
    while abs(studio.page.evaluate(kept) - before) > 1e-3:
        studio.page.wait_for_timeout(20)
    studio.reload()
    expect(studio.page.locator("#result-note")).to_contain_text("photo.png · 128 × 96 pixels")
    assert abs(painted(studio) - before) < 1e-3
    assert studio.page.locator("#extend").input_value() == "0,0,64,0"


def test_what_is_taken_off_the_table_comes_back_with_its_mask(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    studio.fill(prompt="a prompt that stays")
    stroke(studio, (0.3, 0.5), (0.6, 0.5))
    before = painted(studio)
    studio.page.get_by_role("button", name="Remove").click()
    expect(studio.page.locator("#drop")).to_be_visible()
    studio.page.keyboard.press("Control+z")
    expect(studio.page.locator("#view img.whole")).to_be_visible()
    assert painted(studio) == before
    stroke(studio, (0.3, 0.2), (0.6, 0.2))
    studio.page.keyboard.press("Control+z")
    assert painted(studio) == before
    assert studio.page.locator("#prompt").input_value() == "a prompt that stays"


def test_edits_are_accepted_walked_back_and_grow_the_image(studio: Studio, photo: Path) -> None:
    page = studio.page
    open_photo(studio, photo, "masking")
    stroke(studio, (0.2, 0.5), (0.3, 0.5))
    studio.fill(num_outputs=2)
    studio.generate()
    first = np.asarray(studio.wait_for_picture(2), dtype=int)
    # The image and both pictures.
    expect(page.locator("#strip button")).to_have_count(3)
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#strip button")).to_have_count(0)
    # Now the image grows: what is in the mask stays out of it.
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Extend").click()
    box = page.locator(".handle.bottom").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    scale = page.locator(".sheet").bounding_box()["width"] / 128
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 32 * scale, steps=3)
    page.mouse.up()
    assert page.locator("#extend").input_value() == "0,0,0,32"
    studio.fill(num_outputs=1)
    studio.generate()
    second = np.asarray(studio.wait_for_picture(3), dtype=int)
    assert second.shape == (128, 128, 3)
    assert np.array_equal(second[:96], first)
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#result-note")).to_contain_text("128 × 128")
    assert page.locator("#extend").input_value() == ""
    # Back to the image as it was opened.
    page.locator("#versions > summary").click()
    page.get_by_role("button", name="1. Opened").click()
    expect(page.locator("#result-note")).to_contain_text("128 × 96")
    assert np.array_equal(np.asarray(studio.pixels(page.locator("#view img.whole"))), np.asarray(Image.open(photo)))


def test_a_layer_lies_on_its_image_and_is_given_away_as_a_file(studio: Studio, photo: Path) -> None:
    page = studio.page
    open_photo(studio, photo, "masking")
    stroke(studio, (0.7, 0.5), (0.9, 0.5))
    studio.generate()
    whole = np.asarray(studio.wait_for_picture(1))
    with page.expect_response("**/jobs/*/result") as answer:
        page.get_by_role("button", name="Make a layer").click()
    studio.wait_for_picture(2)
    expect(page.locator("#gallery .badge")).to_have_text("Layer")
    made = from_base64(answer.value.json()["images"][0]["base64"])
    layer = np.asarray(made)
    assert made.mode == "RGBA"
    assert made.size == (128, 96)
    assert (layer[..., 3] == 0).any()
    drawn = layer[..., 3] == 255
    assert np.array_equal(layer[drawn][:, :3], whole[drawn])
    name = page.get_by_role("button", name="Download").evaluate(
        """(node) => {
          const data = new DataTransfer();
          node.dispatchEvent(new DragEvent("dragstart", { dataTransfer: data }));
          return data.getData("DownloadURL").split(":").slice(0, 2).join(":");
        }"""
    )
    assert name == "image/png:a-dog-3-layer.png"
    # It cannot be gone on with, because it is only a part; below it the image is seen.
    expect(page.get_by_role("button", name="Accept")).to_have_count(0)
    expect(page.locator("#view [alt=Before]")).to_be_visible()
    # A patch is small, and lies where it belongs.
    page.get_by_role("button", name="Discard").click()
    studio.fill(output="patch")
    studio.generate()
    studio.wait_for_picture(3)
    patch, sheet = studio.result().bounding_box(), page.locator(".sheet").bounding_box()
    assert patch["x"] - sheet["x"] > 0.5 * sheet["width"]
    assert patch["width"] < 0.5 * sheet["width"]


def test_the_region_is_seen_while_the_mask_grows(studio: Studio, tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("RGB", (512, 512), "teal").save(file)
    asked: list[Any] = []
    studio.page.on("request", lambda request: asked.append(request) if request.url.endswith("/estimate") else None)
    open_photo(studio, file, "masking")
    studio.fill(inpaint_area="masked")
    stroke(studio, (0.2, 0.2))
    note = studio.page.locator("#region-note")
    expect(note).to_contain_text("region")
    small = note.text_content()
    stroke(studio, (0.2, 0.2), (0.8, 0.8))
    expect(note).not_to_have_text(small)
    # A stand-in of the image's size is asked about, because the image itself may be large.
    sent = parse_qs(asked[-1].post_data)
    assert from_base64(sent["init_image"][0].partition(",")[2]).size == (512, 512)
    assert len(sent["init_image"][0]) < 1000


@pytest.mark.parametrize("size", [(8000, 6000)])
def test_undo_costs_the_same_however_large_the_strokes_are(studio: Studio, size: tuple[int, int]) -> None:
    taken = studio.page.evaluate(
        """async ([width, height]) => {
          const { Mask } = await import('/studio/js/mask.js');
          const mask = new Mask(width, height);
          const brush = { size: 1200, softness: 0.4, erase: false };
          const swaps = [];
          for (let i = 0; i < 40; i++) {
            mask.begin();
            mask.line([1000, 1000 + 90 * i], [7000, 1000 + 90 * i], brush);
            swaps.push(mask.end());
          }
          const painted = mask.coverage();
          const began = performance.now();
          swaps.toReversed().forEach((swap) => swap());
          const seconds = (performance.now() - began) / 1000;
          return { painted, seconds, left: mask.coverage() };
        }""",
        list(size),
    )
    assert taken["painted"] > 0.4
    assert taken["left"] == 0
    # Milliseconds, where painting took seconds.
    assert taken["seconds"] < 0.2


def test_nothing_moves_while_a_job_runs(studio: Studio) -> None:
    studio.page.evaluate(WATCH_SHIFTS)
    studio.quick(num_outputs=2, num_inference_steps=20)
    studio.generate()
    studio.wait_for_picture(2)
    assert studio.page.evaluate("window.shifts") < 0.02
