"""The studio's pictures: kept, used again, given away, and read from files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from studio_page import USABLE, Studio, expect

OpenStudio = Callable[..., Studio]

NASTY = '<img src=x onerror="document.title=1">'


def made(path: Path, parameters: str) -> Path:
    """A PNG file with such parameters."""
    chunks = PngInfo()
    chunks.add_text("parameters", parameters)
    Image.new("RGB", (64, 64), "green").save(path, pnginfo=chunks)
    return path


def test_pictures_stay_after_a_reload_and_can_be_deleted(studio: Studio) -> None:
    studio.quick(num_outputs=2)
    studio.generate()
    studio.wait_for_picture(2)
    studio.reload()
    studio.wait_for_picture(2)
    expect(studio.page.locator("#gallery h3")).to_have_text(["Today"])
    studio.page.get_by_role("button", name="Delete", exact=True).click()
    studio.wait_for_picture(1)
    studio.page.get_by_role("button", name="Undo").click()
    studio.wait_for_picture(2)
    studio.page.get_by_role("button", name="Settings", exact=True).click()
    for _ in range(2):
        studio.page.get_by_role("button", name="Delete all pictures").click()
    expect(studio.page.locator("#gallery")).to_be_hidden()
    studio.reload()
    expect(studio.page.locator(".empty")).to_be_visible()
    expect(studio.page.locator("#gallery")).to_be_hidden()


def test_a_picture_is_downloaded_as_it_was_made_and_its_file_restores_the_form(studio: Studio, tmp_path: Path) -> None:
    studio.quick(prompt="a dog, „schön“", negative_prompt="fog", seed=77, guidance_scale=3.5, scheduler="euler-karras")
    studio.generate()
    studio.wait_for_picture()
    with studio.page.expect_download() as started:
        studio.page.get_by_role("button", name="Download").click()
    assert started.value.suggested_filename == "a-dog-schön-77.png"
    file = tmp_path / "picture.png"
    started.value.save_as(file)
    with Image.open(file) as image:
        assert image.info["parameters"].startswith("a dog, „schön“\nNegative prompt: fog\nSteps: 3")
    studio.quick(prompt="another", negative_prompt="", seed=1, guidance_scale=7, scheduler="")
    studio.drop("#form", file)
    expect(studio.page.locator("#banner")).to_contain_text("The settings of picture.png are in the form.")
    fields = {"prompt": "a dog, „schön“", "negative_prompt": "fog", "seed": "77", "guidance_scale": "3.5"}
    for name, value in {**fields, "scheduler": "euler-karras", "num_inference_steps": "3", "width": "64"}.items():
        assert studio.page.locator(f"#{name}").input_value() == value
    studio.page.get_by_role("button", name="Use it as image").click()
    expect(studio.page.locator("#result-note")).to_contain_text("64 × 64")


def test_what_a_file_says_is_only_ever_text(studio: Studio, tmp_path: Path) -> None:
    text = f"{NASTY}\nNegative prompt: {NASTY}\nSteps: 2, Seed: 5, Size: 64x64, Model: {NASTY}"
    studio.drop("#form", made(tmp_path / f"{'x' * 20}.png", text))
    expect(studio.page.locator("#prompt")).to_have_value(NASTY)
    expect(studio.page.locator("#banner")).to_contain_text(f"Its model, {NASTY}, is not here.")
    studio.generate()
    studio.wait_for_picture()
    expect(studio.page.locator("#result-parameters")).to_contain_text(NASTY)
    assert studio.page.title() == "Studio"


def test_parameters_are_read_however_odd_the_prompt_is(studio: Studio, tmp_path: Path) -> None:
    prompt = 'first line\nNegative prompt: not yet\nSteps: 9, a "quoted", word: here'
    pairs = 'Steps: 4, Sampler: DDIM, CFG scale: 2.5, Size: 128x64, Model: "a, b: \\"c\\"", Eta: 0.5, Seed: '
    pairs += str(2**64 - 3)
    text = f"{prompt}\nNegative prompt: one\ntwo\n{pairs}"
    studio.drop("#form", made(tmp_path / "odd.png", text))
    expect(studio.page.locator("#prompt")).to_have_value(prompt)
    expect(studio.page.locator("#negative_prompt")).to_have_value("one\ntwo")
    expect(studio.page.locator("#banner")).to_contain_text('Its model, a, b: "c", is not here.')
    expected = {"scheduler": "ddim", "guidance_scale": "2.5", "height": "64", "eta": "0.5", "seed": str(2**64 - 3)}
    for name, value in expected.items():
        assert studio.page.locator(f"#{name}").input_value() == value


def test_a_picture_can_be_dragged_out_as_a_file(studio: Studio) -> None:
    studio.quick(seed=6)
    studio.generate()
    studio.wait_for_picture()
    for selector in ("#result-actions [draggable=true]", "#gallery-days [data-picture]"):
        offered = studio.page.locator(selector).evaluate(
            """(node) => {
              const data = new DataTransfer();
              node.dispatchEvent(new DragEvent("dragstart", { dataTransfer: data, bubbles: true }));
              return [data.getData("DownloadURL"), data.files[0].name, node.draggable];
            }"""
        )
        assert offered[0].startswith("image/png:a-dog-6.png:blob:http")
        assert offered[1:] == ["a-dog-6.png", True]


def test_a_picture_can_be_copied(studio: Studio) -> None:
    studio.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    studio.page.get_by_role("button", name="Copy", exact=True).click()
    expect(studio.page.get_by_role("button", name="Copied")).to_be_visible()
    types = studio.page.evaluate("async () => (await navigator.clipboard.read()).flatMap((item) => item.types)")
    assert "image/png" in types


def test_two_tabs_show_the_same_pictures(studio: Studio) -> None:
    other = Studio(studio.page.context.new_page(), studio.url)
    other.page.goto(studio.url)
    other.page.locator(USABLE).wait_for()
    studio.quick(num_outputs=2)
    studio.generate()
    studio.wait_for_picture(2)
    expect(other.page.locator("#gallery-days [data-picture]")).to_have_count(2)
    studio.page.get_by_role("button", name="Delete", exact=True).click()
    expect(other.page.locator("#gallery-days [data-picture]")).to_have_count(1)


def test_a_file_that_means_harm_does_none(studio: Studio, tmp_path: Path) -> None:
    banner = studio.page.locator("#banner")
    # Each would keep a careless reader busy for ages, or lead it out of the file.
    for number, text in enumerate([" " * 60_000 + "!", "1, " + "a" * 60_000, "1, " + '"' * 60_000]):
        studio.drop("#form", made(tmp_path / f"{number}.png", f"Steps: {text}"))
        expect(banner).to_contain_text(f"The settings of {number}.png are in the form.")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "0.png").read_bytes()[:33] + b"\xff\xff\xff\xfftEXtparameters")
    studio.drop("#form", cut)
    expect(banner).to_contain_text("This browser cannot open cut.png.")
    studio.drop("#form", made(tmp_path / "long.png", "x" * 10**6 + "\nSteps: 1"))
    expect(studio.page.locator("#result-note")).to_contain_text("64 × 64")


def test_settings_of_an_earlier_picture_are_used_again(studio: Studio) -> None:
    studio.quick(prompt="first", guidance_scale=2)
    studio.generate()
    studio.wait_for_picture(1)
    studio.quick(prompt="second", guidance_scale=9)
    studio.page.get_by_role("button", name="Reuse settings", exact=True).click()
    expect(studio.page.locator("#prompt")).to_have_value("first")
    expect(studio.page.locator("#guidance_scale")).to_have_value("2")
    expect(studio.page.locator("#lock")).to_have_attribute("aria-pressed", "false")


def test_a_browser_that_keeps_nothing_makes_pictures_all_the_same(open_studio: OpenStudio, server: str) -> None:
    studio = open_studio(server)
    studio.page.add_init_script(
        """for (const name of ["indexedDB", "localStorage", "sessionStorage"]) {
          Object.defineProperty(window, name, { get() { throw new DOMException("not here", "SecurityError"); } });
        }"""
    )
    studio.reload()
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    expect(studio.page.locator("#banner")).to_contain_text("no room to keep the picture")


def test_a_browser_that_is_full_says_so(studio: Studio) -> None:
    session = studio.page.context.new_cdp_session(studio.page)
    session.send("Storage.overrideQuotaForOrigin", {"origin": studio.url, "quotaSize": 1})
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    expect(studio.page.locator("#banner")).to_contain_text("no room to keep the picture")


def test_pictures_are_found_marked_exported_and_imported(studio: Studio, tmp_path: Path) -> None:
    page = studio.page
    for number, prompt in enumerate(("a red fox", "a blue whale"), start=1):
        studio.quick(prompt=prompt, seed=number)
        studio.generate()
        studio.wait_for_picture(number)
    tiles = page.locator("#gallery-days [data-picture]")
    page.get_by_role("button", name="Favourite").click()
    page.get_by_label("Favourites").check()
    expect(tiles).to_have_count(1)
    expect(tiles).to_have_attribute("title", "a blue whale")
    page.get_by_label("Favourites").uncheck()
    page.get_by_label("Search your pictures").fill("FOX red")
    expect(tiles).to_have_count(1)
    # In large, with the settings and the others a key away.
    page.get_by_label("Search your pictures").fill("")
    expect(tiles).to_have_count(2)
    tiles.nth(0).click()
    large = page.locator("#lightbox")
    expect(large.get_by_role("heading")).to_have_text("a blue whale")
    page.keyboard.press("ArrowRight")
    expect(large.get_by_role("heading")).to_have_text("a red fox")
    expect(large.locator("#lightbox-parameters")).to_contain_text("Seed1")
    # Of other fields, what is not as usual.
    expect(large.locator("#lightbox-parameters dt")).to_have_text(["Prompt", "Steps", "Guidance", "Seed", "Model"])
    page.keyboard.press("1")
    assert page.locator("#lightbox-image").bounding_box()["width"] == 64
    original = studio.pixels(page.locator("#lightbox-image"))
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    # Out as a zip file that any program reads, and back.
    page.get_by_role("button", name="Select", exact=True).click()
    page.get_by_role("button", name="Select all").click()
    expect(page.locator("#picked")).to_have_text("2 pictures selected")
    with page.expect_download() as started:
        page.get_by_role("button", name="Export as zip").click()
    file = tmp_path / "pictures.zip"
    started.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["a-blue-whale-2.png", "a-red-fox-1.png", "pictures.json"]
        with archive.open("a-red-fox-1.png") as stored:
            assert Image.open(stored).convert("RGB").tobytes() == original.tobytes()
    page.locator("#delete-picked").click()
    expect(page.locator("#gallery")).to_be_hidden()
    # As another program writes it.
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "again.zip", "w", zipfile.ZIP_DEFLATED) as again:
        for name in archive.namelist():
            again.writestr(name, archive.read(name))
    page.locator("#archive").set_input_files(tmp_path / "again.zip")
    expect(tiles).to_have_count(2)
    expect(tiles.nth(0).locator(".star")).to_be_visible()
    broken = tmp_path / "broken.zip"
    broken.write_bytes(file.read_bytes()[:-30])
    page.locator("#archive").set_input_files(broken)
    expect(page.locator("#banner")).to_contain_text("broken.zip has no pictures that were exported here.")


def test_prompts_and_styles_are_used_again(studio: Studio) -> None:
    page = studio.page
    studio.quick(prompt="a red fox")
    studio.generate()
    studio.wait_for_picture()
    studio.fill(prompt="a dog")
    page.get_by_role("button", name="Settings", exact=True).click()
    page.get_by_label("Styles").fill("Ink: ink drawing of {prompt}\nno style\nDark: at night")
    page.get_by_role("button", name="Close").click()
    page.locator("#styles summary").click()
    page.get_by_role("button", name="Ink").click()
    expect(page.locator("#prompt")).to_have_value("ink drawing of a dog")
    page.locator("#styles summary").click()
    expect(page.locator("#style-list button")).to_have_text(["Ink", "Dark"])
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("#prompt")).to_have_value("ink drawing of a dog, at night")
    page.locator("#used-prompts summary").click()
    page.get_by_role("button", name="a red fox", exact=True).click()
    expect(page.locator("#prompt")).to_have_value("a red fox")


def test_many_large_pictures_take_little_memory(studio: Studio) -> None:
    """Tiles show small copies, so what is decoded does not grow with the pictures."""
    studio.page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(1024, 1024);
          const context = canvas.getContext("2d");
          const pixels = context.createImageData(1024, 1024);
          for (let i = 0; i < pixels.data.length; i++) pixels.data[i] = (i * 7919) % 256;
          context.putImageData(pixels, 0, 0);
          const blob = await canvas.convertToBlob();
          const gallery = await import('/studio/js/gallery.js');
          const size = { width: 1024, height: 1024 };
          const fields = { prompt: "large" };
          const one = (index) => ({ id: `large-${index}`, created: index, blob, ...size, seed: index, fields });
          await gallery.add(Array.from({ length: 4 }, (_, index) => one(index)));
          document.getElementById("gallery").scrollIntoView();
        }"""
    )
    images = studio.page.locator("#gallery-days img[src]")
    expect(images).to_have_count(4)
    images.last.evaluate("(image) => image.decode()")
    assert images.evaluate_all("(all) => all.map((image) => image.naturalWidth)") == [320] * 4
