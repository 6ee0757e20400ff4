"""Image to image and masking in the studio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from studio_page import Studio, expect, open_photo, painted, stroke


def test_image_to_image_from_a_dropped_file(studio: Studio, photo: Path) -> None:
    studio.quick()
    studio.drop("body", photo)
    expect(studio.page.locator("[name=mode][value=img2img]")).to_be_checked()
    studio.fill(strength=0.5)
    studio.generate()
    picture = studio.wait_for_picture()
    assert picture.size == (128, 96)
    # No field came that the server does not know.
    expect(studio.page.locator("#banner")).to_be_hidden()
    before = studio.page.locator("#view [alt=Before]")
    assert np.array_equal(np.asarray(studio.pixels(before)), np.asarray(Image.open(photo)))


def test_a_painted_mask_replaces_that_part_and_nothing_else(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    stroke(studio, (0.7, 0.5), (0.9, 0.5))
    assert 0.01 < painted(studio) < 0.3
    studio.generate()
    result = np.asarray(studio.wait_for_picture(), dtype=int)
    expect(studio.page.locator("#banner")).to_be_hidden()
    changed = np.abs(result - np.asarray(Image.open(photo), dtype=int)).max(axis=2) > 0
    assert changed[:, 80:].any()
    assert not changed[:, :64].any()
    # The result is shown whole; the image as it was is seen while a button or a key is held.
    compare = studio.page.get_by_role("button", name="Compare")
    compare.hover()
    studio.page.mouse.down()
    expect(studio.result()).to_be_hidden()
    studio.page.mouse.up()
    expect(studio.result()).to_be_visible()
    studio.page.locator("#view").focus()
    studio.page.keyboard.down("c")
    expect(studio.result()).to_be_hidden()
    studio.page.keyboard.up("c")
    expect(studio.result()).to_be_visible()


def test_same_seed_brings_image_and_mask_back(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    stroke(studio, (0.7, 0.5), (0.9, 0.5))
    mask = painted(studio)
    studio.generate()
    first = studio.wait_for_picture(1)
    studio.page.get_by_role("button", name="Discard").click()
    studio.page.get_by_role("button", name="Remove").click()
    expect(studio.page.locator("#drop")).to_be_visible()
    studio.mode("txt2img")
    studio.page.get_by_role("button", name="Reuse settings and seed").click()
    expect(studio.page.locator("#view img.whole")).to_be_visible()
    while not painted(studio):
        studio.page.wait_for_timeout(10)
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
    studio.page.get_by_role("button", name="Undo").click()
    assert painted(studio) == once
    studio.page.get_by_role("button", name="Redo").click()
    assert painted(studio) == twice
    tools.get_by_role("button", name="Invert").click()
    assert abs(painted(studio) - (1 - twice)) < 0.01
    studio.page.get_by_role("button", name="Undo").click()
    tools.get_by_role("button", name="Erase").click()
    stroke(studio, (0.2, 0.8), (0.8, 0.8))
    assert painted(studio) < twice
    tools.get_by_role("button", name="Clear").click()
    assert painted(studio) == 0


def test_the_mask_can_be_painted_with_the_keyboard(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    keyboard = studio.page.keyboard
    studio.page.locator("#view").focus()
    keyboard.press("Enter")
    one = painted(studio)
    assert one > 0
    for _ in range(8):
        keyboard.press("ArrowRight")
    keyboard.press("]")
    keyboard.press("Enter")
    assert painted(studio) > 2 * one
    keyboard.press("e")
    keyboard.press("Enter")
    assert painted(studio) < 2 * one
    keyboard.press("Control+z")
    keyboard.press("i")
    assert painted(studio) > 0.5


def test_zoom_and_moving_keep_what_is_painted(studio: Studio, photo: Path) -> None:
    open_photo(studio, photo, "masking")
    sheet = studio.page.locator(".sheet")
    small = sheet.bounding_box()["width"]
    stroke(studio, (0.5, 0.5))
    before = painted(studio)
    studio.page.get_by_role("button", name="Zoom in").click()
    assert sheet.bounding_box()["width"] > 1.4 * small
    assert painted(studio) == before
    studio.page.get_by_role("button", name="100 %").click()
    assert abs(sheet.bounding_box()["width"] - 128) < 0.5
    expect(studio.page.locator("#zoom-percent")).to_have_text("100 %")
    # The space bar and the middle button move what is seen, and paint nothing.
    x, y = 900.0, 400.0
    left = sheet.bounding_box()["x"]
    studio.page.mouse.move(x, y)
    studio.page.keyboard.down("Space")
    studio.page.mouse.down()
    studio.page.mouse.move(x + 30, y + 10)
    studio.page.mouse.up()
    studio.page.keyboard.up("Space")
    assert abs(sheet.bounding_box()["x"] - left - 30) < 0.5
    assert painted(studio) == before
    studio.page.mouse.wheel(0, -200)
    assert sheet.bounding_box()["width"] > 1.4 * 128
    studio.page.get_by_role("button", name="Fit").click()
    assert sheet.bounding_box()["width"] == small


def test_two_fingers_zoom_and_move_and_paint_nothing(
    open_studio: Callable[..., Studio], server: str, photo: Path
) -> None:
    studio = open_studio(server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    open_photo(studio, photo, "masking")
    sheet = studio.page.locator(".sheet")
    studio.page.locator("#view").scroll_into_view_if_needed()
    small = sheet.bounding_box()
    x, y = small["x"] + small["width"] / 2, small["y"] + small["height"] / 2
    session = studio.page.context.new_cdp_session(studio.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": place[0], "y": place[1], "id": index} for index, place in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        # Moves are reported with the next frame.
        studio.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    # The first finger is down a little earlier, and has moved.
    touch("touchStart", (x - 40, y))
    touch("touchMove", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for apart in (40, 50, 60):
        touch("touchMove", (x - apart, y), (x + apart, y))
    large = sheet.bounding_box()
    assert abs(large["width"] / small["width"] - 2) < 0.1
    # What was between the fingers still is.
    assert abs((x - large["x"]) / large["width"] - 0.5) < 0.02
    touch("touchMove", (x - 100, y), (x + 20, y))
    assert abs(sheet.bounding_box()["x"] - (large["x"] - 40)) < 2
    # The finger that stays does not paint.
    touch("touchEnd", (x - 100, y))
    touch("touchMove", (x - 60, y))
    touch("touchEnd")
    assert painted(studio) == 0
    touch("touchStart", (x, y))
    touch("touchMove", (x + 20, y))
    touch("touchEnd")
    assert painted(studio) > 0


def test_a_result_goes_back_to_the_table(studio: Studio) -> None:
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    studio.page.get_by_role("button", name="Edit this").click()
    expect(studio.page.locator("#result-note")).to_contain_text("64 × 64")
    studio.generate()
    studio.wait_for_picture(2)


def test_an_image_is_kept_as_it_is_however_large(studio: Studio, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("RGB", (1200, 600), "teal").save(large)
    open_photo(studio, large, "img2img")
    expect(studio.page.locator("#result-note")).to_contain_text("1200 × 600 pixels – more than this server takes")
    sent = studio.page.evaluate("async () => (await import('/studio/js/canvas.js')).source().size")
    assert sent == large.stat().st_size


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
    expect(studio.page.locator("#result-note")).to_contain_text("80 × 64")
