"""Image to image and masking in the studio."""

from pathlib import Path

import numpy as np
from PIL import Image
from studio_page import Studio, expect


def open_photo(studio: Studio, photo: Path, mode: str) -> None:
    studio.quick(seed=3)
    studio.mode(mode)
    studio.page.locator("#file").set_input_files(photo)
    expect(studio.page.locator(".sheet")).to_be_visible()


def stroke(studio: Studio, *points: tuple[float, float]) -> None:
    """Paint along points, as shares of the image's sides."""
    box = studio.page.locator(".sheet").bounding_box()
    mouse = studio.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    mouse.move(*places[0])
    mouse.down()
    for place in places:
        mouse.move(*place, steps=4)
    mouse.up()


def painted(studio: Studio) -> float:
    """The share of the image that the mask covers."""
    covered: float = studio.page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas.mask");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.reduce((sum, value, index) => sum + (index % 4 === 3 ? value : 0), 0) / (data.length / 4) / 255;
        }"""
    )
    return covered


def test_image_to_image_from_a_dropped_file(studio: Studio, photo: Path) -> None:
    studio.quick()
    studio.drop("body", photo)
    expect(studio.page.locator("[name=mode][value=img2img]")).to_be_checked()
    studio.fill(strength=0.5)
    studio.generate()
    picture = studio.wait_for_picture()
    assert picture.size == (128, 96)
    before = studio.page.locator("#result-view [alt=Before]")
    assert np.array_equal(np.asarray(studio.pixels(before)), np.asarray(Image.open(photo)))


def test_a_painted_mask_replaces_that_part_and_nothing_else(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    stroke(studio, (0.7, 0.5), (0.9, 0.5))
    assert 0.01 < painted(studio) < 0.3
    studio.generate()
    result = np.asarray(studio.wait_for_picture(), dtype=int)
    changed = np.abs(result - np.asarray(Image.open(photo), dtype=int)).max(axis=2) > 0
    assert changed[:, 80:].any()
    assert not changed[:, :64].any()
    # The slider shows the one or the other.
    slider = studio.page.get_by_label("Before and after")
    slider.focus()
    studio.page.keyboard.press("End")
    assert studio.page.locator(".compare").evaluate("(node) => node.style.getPropertyValue('--split')") == "100%"


def test_same_seed_brings_image_and_mask_back(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    stroke(studio, (0.7, 0.5), (0.9, 0.5))
    mask = painted(studio)
    studio.generate()
    first = studio.wait_for_picture(1)
    studio.page.get_by_role("button", name="Remove").click()
    studio.mode("txt2img")
    studio.page.get_by_role("button", name="Same seed").click()
    expect(studio.page.locator(".sheet")).to_be_visible()
    assert abs(painted(studio) - mask) < 0.001
    studio.generate()
    assert studio.wait_for_picture(2).tobytes() == first.tobytes()


def test_the_mask_can_be_undone_erased_and_inverted(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    tools = studio.page.get_by_role("toolbar", name="Mask")
    stroke(studio, (0.2, 0.2), (0.8, 0.2))
    once = painted(studio)
    stroke(studio, (0.2, 0.8), (0.8, 0.8))
    twice = painted(studio)
    assert twice > once > 0
    tools.get_by_role("button", name="Undo").click()
    assert painted(studio) == once
    tools.get_by_role("button", name="Redo").click()
    assert painted(studio) == twice
    tools.get_by_role("button", name="Invert").click()
    assert abs(painted(studio) - (1 - twice)) < 0.01
    tools.get_by_role("button", name="Undo").click()
    tools.get_by_role("button", name="Erase").click()
    stroke(studio, (0.2, 0.8), (0.8, 0.8))
    assert painted(studio) < twice
    tools.get_by_role("button", name="Clear").click()
    assert painted(studio) == 0


def test_the_mask_can_be_painted_with_the_keyboard(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    keyboard = studio.page.keyboard
    studio.page.locator(".sheet").focus()
    keyboard.press("Space")
    one = painted(studio)
    assert one > 0
    for _ in range(8):
        keyboard.press("ArrowRight")
    keyboard.press("]")
    keyboard.press("Space")
    assert painted(studio) > 2 * one
    keyboard.press("e")
    keyboard.press("Space")
    assert painted(studio) < 2 * one
    keyboard.press("Control+z")
    keyboard.press("i")
    assert painted(studio) > 0.5


def test_zoom_keeps_what_is_painted(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    sheet = studio.page.locator(".sheet")
    small = sheet.bounding_box()["width"]
    stroke(studio, (0.5, 0.5))
    before = painted(studio)
    studio.page.get_by_role("button", name="Zoom in").click()
    assert sheet.bounding_box()["width"] > 1.4 * small
    assert painted(studio) == before
    studio.page.get_by_role("button", name="Fit").click()
    assert sheet.bounding_box()["width"] == small


def test_a_result_goes_back_to_the_canvas(studio: Studio) -> None:
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    studio.page.get_by_role("button", name="Edit this").click()
    expect(studio.page.locator(".sheet")).to_be_visible()
    expect(studio.page.locator("#canvas-hint")).to_contain_text("64 × 64")
    studio.generate()
    studio.wait_for_picture(2)


def test_an_image_that_is_too_large_is_made_smaller(studio: Studio, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("RGB", (1200, 600), "teal").save(large)
    open_photo(studio, large, "img2img")
    expect(studio.page.locator("#canvas-hint")).to_contain_text("724 × 362 pixels, made smaller")


def test_an_image_can_be_pasted(studio: Studio, photo: Path) -> None:
    studio.page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(80, 64);
          canvas.getContext("2d").fillRect(0, 0, 80, 64);
          const data = new DataTransfer();
          data.items.add(new File([await canvas.convertToBlob()], "pasted.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }"""
    )
    expect(studio.page.locator("#canvas-hint")).to_contain_text("80 × 64")
